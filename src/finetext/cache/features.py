"""The token ids of texts with the cached output of the frozen layers, and the pass that computes it."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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

    def __post_init__(self) -> None:
        counts = np.array([len(text) for text in self.encoded], dtype=np.int64)
        object.__setattr__(self, "_first", np.cumsum(counts) - counts)
        single = all(len(text) == 1 and len(text[0]) == 1 for text in self.encoded)
        ids = np.array([text[0][0] for text in self.encoded], dtype=np.int64) if single else None
        object.__setattr__(self, "_single_ids", ids)

    def __len__(self) -> int:
        return len(self.encoded)

    def length(self, text: int) -> int:
        """Return the tokens of a text's longest window."""
        return max(map(len, self.encoded[text]))

    def batch(self, texts: Sequence[int]) -> Batch:
        """Return some texts as a batch."""
        if self._single_ids is not None and len(texts):  # type: ignore[attr-defined]
            return self._single_tokens(texts)
        first: NDArray[np.int64] = self._first  # type: ignore[attr-defined]
        windows = [first[text] + place for text in texts for place in range(len(self.encoded[text]))]
        return self._with_features(collate([self.encoded[text] for text in texts], self.pad_id), windows)

    def _single_tokens(self, texts: Sequence[int]) -> Batch:
        """Return texts of one token each, as a head alone reads them: there is nothing to pad."""
        chosen = np.asarray(texts)
        ids = torch.from_numpy(self._single_ids[chosen]).unsqueeze(1)  # type: ignore[attr-defined]
        hidden = None if self.features is None else self.features.hidden(chosen)
        return Batch(ids, torch.ones_like(ids), torch.arange(len(chosen)), len(chosen), hidden)

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

    def _with_features(self, batch: Batch, windows: list[int]) -> Batch:
        if self.features is None:
            return batch
        hidden = self.features.hidden(windows)
        return Batch(batch.input_ids, batch.attention_mask, batch.owner, batch.size, hidden)


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

        with self._arithmetic(), evaluating(self.runner.network):
            captured = run_concurrently(capture, batches, costs, self.threads)
            for places, features in zip(batches, captured, strict=True):
                yield from zip(places, features, strict=True)

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        low = self.arithmetic == "bf16"
        with torch.no_grad():
            if self.device.type == "cpu":
                with packed(self.frozen, torch.bfloat16 if low else torch.float32):
                    yield
            else:
                with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=low):
                    yield


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
            total = sum(map(len, windows))
            rows = len(windows) if trunk.stores_vectors else total
            done = 0
            try:
                with entry.writing(rows) as writer:
                    progress(0, total)
                    for index, hidden in trunk.run(windows):
                        writer.add(digests[places[index]], hidden)
                        done += len(windows[index])
                        progress(done, total)
            except (OSError, RunError) as error:
                raise CacheFull(f"the feature cache cannot be written: {error}") from error
        features = entry.features(digests)
    return _split_up(splits, features, trunk)


def _split_up(splits: Mapping[str, Sequence[Encoded]], features: Features, trunk: Trunk) -> dict[str, Inputs]:
    inputs: dict[str, Inputs] = {}
    start = 0
    for name, encoded in splits.items():
        stop = start + sum(len(text) for text in encoded)
        part = slice(start, stop)
        split = Features(features.arrays, features.segment[part], features.offset[part], features.count[part])
        if trunk.stores_vectors:
            encoded = [tuple(ids[:1] for ids in text) for text in encoded]
        inputs[name] = Inputs(encoded, trunk.pad_id, split)
        start = stop
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
    whole = hashlib.sha256(json.dumps(_architecture(network.config), sort_keys=True, default=str).encode())
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def _architecture(config: Any) -> dict[str, Any]:
    """Return what a configuration says of the computation, without what names classes or where it came from."""
    ignored = {"id2label", "label2id", "problem_type", "_name_or_path", "architectures", "dtype"}
    kept = {name: value for name, value in config.to_dict().items() if name not in ignored}
    return {
        name: value for name, value in kept.items() if "drop" not in name
    }  # off while features are computed
