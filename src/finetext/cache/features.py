"""The token ids of texts with the cached output of the frozen layers, and the pass that computes it."""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finetext.cache.activations import ActivationCache, CacheFull, Features, window_digest
from finetext.engine import (
    Batch,
    Encoded,
    Runner,
    batch_budget,
    collate,
    default_token_budget,
    evaluating,
    macs_per_token,
    packed,
    run_concurrently,
    token_budget_batches,
)
from finetext.errors import RunError

_MEAN_TEXTS = 256
"""Texts of which a mean is taken at a time."""


@dataclass(frozen=True)
class Inputs:
    """Texts as the network takes them.

    Attributes:
        encoded: The token ids of each text's windows; of one token a window if that is all that is read.
        pad_id: Fills a batch.
        features: The cached hidden states of all windows, text by text; None to compute them.
    """

    encoded: Sequence[Encoded]
    pad_id: int
    features: Features | None = None

    def __len__(self) -> int:
        return len(self.encoded)

    def length(self, text: int) -> int:
        """Return the tokens of a text's longest window."""
        return max(map(len, self.encoded[text]))

    def batch(self, texts: Sequence[int]) -> Batch:
        """Return some texts as a batch."""
        windows: Sequence[int] | NDArray[np.int64]
        if self._single_ids is not None and len(texts):  # nothing to pad
            windows = np.asarray(texts)
            ids = torch.from_numpy(self._single_ids[windows]).unsqueeze(1)
            batch = Batch(ids, torch.ones_like(ids), torch.arange(len(windows)), len(windows))
        else:
            first = self._first_windows
            windows = [first[text] + place for text in texts for place in range(len(self.encoded[text]))]
            batch = collate([self.encoded[text] for text in texts], self.pad_id)
        return batch if self.features is None else batch.with_hidden(self.features.hidden(windows))

    @cached_property
    def _first_windows(self) -> NDArray[np.int64]:
        """The place of each text's first window."""
        counts = np.array([len(text) for text in self.encoded], dtype=np.int64)
        return np.cumsum(counts) - counts

    @cached_property
    def _single_ids(self) -> NDArray[np.int64] | None:
        """The token of each text, if all have one alone, as what a head reads."""
        if all(len(text) == 1 and len(text[0]) == 1 for text in self.encoded):
            return np.array([text[0][0] for text in self.encoded], dtype=np.int64)
        return None

    def windows(self) -> "Inputs":
        """Return each window as a text of its own."""
        return Inputs([(ids,) for text in self.encoded for ids in text], self.pad_id, self.features)

    def means(self, texts: int | None = None) -> Tensor:
        """Return the mean of the cached hidden states of each of the first texts, `(N, H)` float32; of all by default.

        Of a text with several windows it is the mean over their tokens.
        """
        count = len(self) if texts is None else min(texts, len(self))
        parts = []
        for start in range(0, count, _MEAN_TEXTS):
            batch = self.batch(range(start, min(count, start + _MEAN_TEXTS)))
            assert batch.hidden is not None
            sums = torch.zeros(batch.size, batch.hidden.shape[-1])
            sums.index_add_(0, batch.owner, batch.hidden.float().sum(1))  # (W, T, H), 0 in the padding
            tokens = batch.attention_mask.sum(1).float()
            lengths = torch.zeros(batch.size).index_add_(0, batch.owner, tokens)
            parts.append(sums / lengths.unsqueeze(1))
        return torch.cat(parts)


@dataclass(frozen=True)
class Trunk:
    """The frozen part of a cut network, as the cache sees it.

    Attributes:
        runner: Runs the cut network.
        frozen: The modules whose output is cached.
        pad_id: Fills a batch.
        key: Everything that its output depends on but the token ids.
        width: Size of a hidden state.
        dtype: Precision of the cached activations: bf16 or fp32.
        arithmetic: Precision of the matrix products: bf16 or fp32.
        device: Where it runs.
        packs: Whether batches are packed.
        threads: The threads of each worker.
    """

    runner: Runner
    frozen: tuple[nn.Module, ...]
    pad_id: int
    key: Mapping[str, str]
    width: int
    dtype: str
    arithmetic: str
    device: torch.device
    packs: bool = False
    threads: Sequence[int] = (1,)

    @property
    def stores_vectors(self) -> bool:
        """Whether a text's features are the one vector that the head reads."""
        return self.runner.cut == len(self.runner.layers)

    def run(self, windows: Sequence[list[int]]) -> Iterator[tuple[int, Tensor]]:
        """Run texts up to the cut, by token-budget batches.

        Yields:
            The place of each window and its features `(n, H)` on the CPU, longest windows first.
        """
        lengths = [len(ids) for ids in windows]
        macs = macs_per_token(self.frozen)
        budget = batch_budget(sum(lengths), default_token_budget(self.device), len(self.threads), macs)
        batches = token_budget_batches(lengths, budget, packed=self.packs)
        costs = [macs * sum(lengths[place] for place in batch) for batch in batches]

        def capture(places: list[int]) -> list[Tensor]:
            batch = collate([(windows[place],) for place in places], self.pad_id).to(self.device)
            return [features.cpu() for features in self.runner.capture(batch)]

        with torch.no_grad(), self._arithmetic(), evaluating(self.runner.network):
            captured = run_concurrently(capture, batches, costs, self.threads)
            for places, features in zip(batches, captured, strict=True):
                yield from zip(places, features, strict=True)

    def _arithmetic(self) -> AbstractContextManager[Any]:
        low = self.arithmetic == "bf16"
        if self.device.type == "cpu":
            return packed(self.frozen, torch.bfloat16 if low else torch.float32)
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low)


def cache_features(
    trunk: Trunk,
    splits: Mapping[str, Sequence[Encoded]],
    cache: ActivationCache,
    progress: Callable[[int, int], None],
    waiting: Callable[[], None],
) -> dict[str, Inputs]:
    """Compute the features that are not cached yet, and return the splits with their features.

    Args:
        trunk: The frozen part.
        splits: The encoded texts by name.
        cache: The cache.
        progress: Called with the tokens done and the tokens to do; may raise to stop, what is done is kept.
        waiting: Called once if another process is computing the same.

    Raises:
        CacheFull: The features do not fit.
    """
    every = [ids for encoded in splits.values() for text in encoded for ids in text]
    digests = [window_digest(ids) for ids in every]
    with cache.entry(trunk.key, trunk.width, trunk.dtype, waiting) as entry:
        # Sorted, so that what shares a batch does not depend on the split or the seed.
        places = sorted(entry.missing(digests), key=lambda place: (len(every[place]), digests[place]))
        if places:
            windows = [every[place] for place in places]
            total, done = sum(map(len, windows)), 0
            try:
                with entry.writing(len(windows) if trunk.stores_vectors else total) as writer:
                    progress(0, total)
                    for index, hidden in trunk.run(windows):
                        writer.add(digests[places[index]], hidden)
                        done += len(windows[index])
                        progress(done, total)
            except (OSError, RunError) as error:
                raise CacheFull(f"the feature cache cannot be written: {error}") from error
        inputs = {}
        rest = iter(digests)
        for name, encoded in splits.items():
            features = entry.features(list(itertools.islice(rest, sum(map(len, encoded)))))
            if trunk.stores_vectors:
                encoded = [tuple(ids[:1] for ids in text) for text in encoded]
            inputs[name] = Inputs(encoded, trunk.pad_id, features)
    return inputs


def weights_digest(network: Any, names: Sequence[str]) -> str:
    """Return the SHA-256 of a network's configuration and of the parameters and buffers that `names` holds."""
    tensors: dict[str, Tensor] = dict(network.named_parameters()) | dict(network.named_buffers())
    wanted = sorted(set(names) & set(tensors))

    def digest(name: str) -> bytes:
        tensor = tensors[name].detach().cpu().contiguous()
        content = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            content.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        return content.digest()

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(digest, wanted))
    architecture = json.dumps(_architecture(network.config), sort_keys=True, default=str).encode()
    return hashlib.sha256(b"".join([architecture, *parts])).hexdigest()


def _architecture(config: Any) -> dict[str, Any]:
    """Return what a configuration says of the computation, without what names classes or where it came from."""
    ignored = {"id2label", "label2id", "problem_type", "_name_or_path", "architectures", "dtype"}
    # Dropout is off while features are computed.
    return {
        name: value for name, value in config.to_dict().items() if name not in ignored and "drop" not in name
    }
