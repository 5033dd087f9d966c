"""Backbone, head and tokenizer as one: everything that turns texts into logits."""

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from finetext.cache import Inputs
from finetext.decision import LIKELIEST, Decision
from finetext.engine import (
    Batch,
    Encoded,
    FastPath,
    Pool,
    Runner,
    batch_budget,
    computes_bf16_fast,
    default_token_budget,
    is_reentrant,
    macs_per_token,
    split_threads,
    token_budget_batches,
)
from finetext.errors import ModelError, UsageError
from finetext.models.config import Pooling
from finetext.models.structure import Structure
from finetext.models.tokenization import TextEncoder


@dataclass(frozen=True)
class BundleSettings:
    """What finetext knows of a model and plain transformers does not.

    Attributes:
        task: binary, multi-class or multi-label.
        pooling: Which position the head reads.
        max_length: Longest text or window in tokens.
        long_texts: What is done with longer ones.
        window_pooling: How the logits of a text's windows become one.
        decision: How probabilities become labels.
    """

    task: str
    pooling: Pooling
    max_length: int
    long_texts: Literal["truncate", "head-tail", "windows"]
    window_pooling: Literal["mean", "max"]
    decision: Decision = LIKELIEST


@dataclass
class Model:
    """A sequence classifier with its tokenizer.

    Attributes:
        network: The Hugging Face model, or what stands in for it and gives `logits` of `input_ids` and
            `attention_mask` (`OnnxNetwork`).
        tokenizer: Its tokenizer.
        class_names: The classes in the order of their ids.
        settings: Pooling and the policy for long texts.
        structure: Where its parameters stand.
        kernels: Which faster kernels its layers use.
        notices: What the user should know about how it was loaded or will be trained.
        runner: Runs the network on batches; None for one that is not PyTorch's.
    """

    network: Any
    tokenizer: Any
    class_names: tuple[str, ...]
    settings: BundleSettings
    structure: Structure
    kernels: dict[str, FastPath] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    runner: Runner | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.encoder = TextEncoder(self.tokenizer, self.settings.max_length, self.settings.long_texts)
        self._macs = [macs_per_token([layer]) for layer in self.structure.layers]
        self._alone = threading.Lock()
        self._not_reentrant = is_reentrant(self.network)
        if hasattr(self.network, "base_model"):
            native, layers = self.structure.pool, self.structure.layers
            self.runner = Runner(self.network, layers, native, self.reads, self.pad_id, self._ordinary_ids())
            if self.reads != native and not self.runner.is_on("pooled head"):
                raise ModelError(
                    f"--pooling {self.settings.pooling}: {type(self.network).__name__} pools inside itself. "
                    "Use --pooling native."
                )

    def fast_paths(self) -> dict[str, FastPath]:
        """Return which faster ways of computing the same are used, and why others are not."""
        on_cpu = self.device.type == "cpu"
        gpu = "" if on_cpu else f"the model runs on {self.device.type}"
        paths = self.kernels | ({} if self.runner is None else self.runner.paths)
        for name in ("oneDNN products", "packed batches"):
            if gpu and name in paths and paths[name].on:
                paths[name] = FastPath(False, gpu)
        not_concurrent = self._not_reentrant or gpu
        bf16 = computes_bf16_fast(self.device)
        return paths | {
            "concurrent batches": FastPath(not not_concurrent, not_concurrent),
            "bf16 products": FastPath(bf16, "" if bf16 else "this processor has no fast bf16 arithmetic"),
        }

    @property
    def threads(self) -> list[int]:
        """The threads of each worker that may compute a batch of its own."""
        return self.split_threads(torch.get_num_threads())

    def split_threads(self, threads: int) -> list[int]:
        """Return the threads of each worker where there are this many in all."""
        concurrent = not self._not_reentrant and self.device.type == "cpu"
        return split_threads(threads) if concurrent else [threads]

    @property
    def reads(self) -> Pool:
        """Which position the head reads in the end: first, last or mean."""
        return self.structure.pool if self.settings.pooling == "native" else self.settings.pooling

    def cut(self, index: int) -> str | None:
        """Let the network start at a layer, on stored features; return why it cannot, None if it can."""
        if self.runner is None:
            return "the network is not PyTorch's"
        return self.runner.set_cut(index)

    def uncut(self) -> None:
        """Let the network run whole again."""
        self.cut(0)

    @property
    def cut_at(self) -> int:
        """Index of the first layer that runs on stored features; 0 if there is no cut."""
        return 0 if self.runner is None else self.runner.cut

    def train_mode(self) -> None:
        """Switch dropout on in what is trained; the frozen layers below the cut have none."""
        if self.network.training:
            return
        if not self.cut_at:
            self.network.train()
            return
        for module in self._tail():
            module.train()
        self.network.training = True

    def _tail(self) -> list[nn.Module]:
        """Return the modules that run behind the cut: the layers from there on, the final norm and the head."""
        names = {name.rpartition(".")[0] for name in self.structure.after}
        outside = [
            module for name, module in self.network.named_children() if module is not self.network.base_model
        ]
        behind = [module for name, module in self.network.named_modules() if name in names]
        return [*self.structure.layers[self.cut_at :], *behind, *outside]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass.

        Raises:
            UsageError: The architecture cannot.
        """
        if not self.network.supports_gradient_checkpointing:
            raise UsageError(
                f"{type(self.network).__name__} has no gradient checkpointing. Leave out the option."
            )
        if self.runner is not None:
            for name in ("packed batches", "read position"):  # a layer runs again outside of its pass
                self.runner.switch_off(name, "gradient checkpointing computes layers twice")
        self.network.gradient_checkpointing_enable({"use_reentrant": False})

    def padded(self) -> contextlib.AbstractContextManager[None]:
        """Let every layer have all positions, `(W, T, H)`, for the time of the block."""
        if self.runner is None:
            return contextlib.nullcontext()
        return self.runner.without("packed batches", "read position")

    def _ordinary_ids(self) -> list[int]:
        special = {*self.tokenizer.all_special_ids, self.pad_id}
        size = min(len(self.tokenizer), self.network.get_input_embeddings().num_embeddings)
        ids = [token for token in range(size) if token not in special]
        limit = min(6, self.settings.max_length, len(ids))
        return ids[:: max(1, len(ids) // limit)][:limit]

    @property
    def task(self) -> str:
        """Binary, multi-class or multi-label."""
        return self.settings.task

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    @property
    def pad_id(self) -> int:
        """The id that batches are padded with."""
        return int(self.tokenizer.pad_token_id)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the token ids of each text's windows."""
        return self.encoder(texts)

    def inputs(self, encoded: Sequence[Encoded]) -> Inputs:
        """Return encoded texts as batches are made of them."""
        return Inputs(encoded, self.pad_id)

    def batches(self, windows: Inputs, max_tokens: int | None = None) -> list[list[int]]:
        """Divide texts of one window each into batches for forward passes, longest first.

        Args:
            windows: The texts.
            max_tokens: Budget of what runs at a time; by default what suits the device.
        """
        lengths = [len(text[0]) for text in windows.encoded]
        most = max_tokens or default_token_budget(self.device)
        budget = batch_budget(sum(lengths), most, len(self.threads), self.macs_per_token(windows))
        return token_budget_batches(lengths, budget, packed=self.packs(windows))

    def macs_per_token(self, inputs: Inputs) -> int:
        """Return the multiplications for a token in the layers that run: those behind the cut of stored features."""
        return sum(self._macs[0 if inputs.features is None else self.cut_at :])

    def packs(self, inputs: Inputs | None = None) -> bool:
        """Tell whether batches are packed, so that padding costs little."""
        head_alone = (
            inputs is not None and inputs.features is not None and self.cut_at == self.structure.depth
        )
        on = self.runner is not None and self.runner.is_on("packed batches")
        return on and not head_alone and self.device.type == "cpu"

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return each text's full length in tokens, before anything is cut, special tokens included."""
        return self.encoder.count(texts)

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, `(B, C)` float32, with gradient where that is enabled."""
        with self._alone if self._not_reentrant else contextlib.nullcontext():
            if self.runner is not None:
                windows = self.runner(batch)
            else:
                windows = self.network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        if len(windows) == batch.size:
            return windows
        how = {"mean": "mean", "max": "amax"}[self.settings.window_pooling]
        return torch.zeros(batch.size, windows.shape[1], device=windows.device).scatter_reduce(
            0, batch.owner.unsqueeze(1).expand_as(windows), windows, how, include_self=False
        )
