"""Backbone, head and tokenizer as one: everything that turns texts into logits."""

import contextlib
import inspect
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from finetext.cache import Inputs
from finetext.decision import LIKELIEST, Decision
from finetext.engine import (
    Batch,
    ConstantInput,
    Encoded,
    ReadPosition,
    Replay,
    Unpadding,
    collate,
    cut_network,
    default_token_budget,
    find_constant_input,
    lane_budget,
    lanes_of,
    leaves_no_trace,
    products_per_token,
    read_one_position,
    token_budget_batches,
)
from finetext.errors import UsageError
from finetext.models.pooling import Pooling
from finetext.models.structure import Anatomy
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
        anatomy: Where its parameters stand.
        notices: What the user should know about how it was loaded or will be trained.
        side_by_side: Whether threads may run it at the same time.
    """

    network: Any
    tokenizer: Any
    class_names: tuple[str, ...]
    settings: BundleSettings
    anatomy: Anatomy
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.encoder = TextEncoder(self.tokenizer, self.settings.max_length, self.settings.long_texts)
        takes_positions = "position_ids" in inspect.signature(self.network.forward).parameters
        self._give_positions = takes_positions and self.anatomy.reads == "last"
        self.side_by_side = False
        self._alone = threading.Lock()
        self._products = [products_per_token([layer]) for layer in self.anatomy.layers]
        self.replay: Replay | None = None
        self.constant: ConstantInput | None = None
        self.reading: ReadPosition | None = None
        self.unpadding: Unpadding | None = None
        if self.anatomy.layers:
            self._narrow()

    def _narrow(self) -> None:
        """Leave out positions that nobody reads, and padding, where that changes nothing."""
        layers, ids = self.anatomy.layers, self._ordinary_ids()
        self.reading = read_one_position(self.network, layers, self.reads, self.logits, ids, self.pad_id)
        whole, leaves = layers, []
        # The last layer then has one position of each text, but for what stands before its attention.
        if self.reading is not None:
            whole, leaves = layers[:-1], self.reading.before
        unpadding = self.unpadding = Unpadding(whole, leaves)
        if not unpadding.proves_equal(self.network, self.logits, ids, self.pad_id):
            self.unpadding = None
        self.side_by_side = leaves_no_trace(self.network, self.logits, ids, self.pad_id)

    @property
    def lanes(self) -> list[int]:
        """The threads of each lane that batches which only run forward may be computed in."""
        return self.lanes_of(torch.get_num_threads())

    def lanes_of(self, threads: int) -> list[int]:
        """Return the threads of each lane where there are so many in all."""
        return lanes_of(threads) if self.side_by_side and self.device.type == "cpu" else [threads]

    @property
    def reads(self) -> str:
        """Which position the head reads in the end: first, last or mean."""
        native = {"pooler": "first"}.get(self.anatomy.reads, self.anatomy.reads)
        return native if self.settings.pooling == "native" else self.settings.pooling

    def cut(self, index: int) -> Replay | None:
        """Make the network able to start at a layer; None if it cannot be cut there."""
        self.uncut()
        self.replay = cut_network(
            self.network,
            self.anatomy.layers,
            index,
            self.logits,
            self._ordinary_ids(),
            self.pad_id,
            self._widened,
        )
        if self.replay is not None and not self.replay.one_position:
            ids = self._ordinary_ids()
            batch = collate([(ids,), (ids[1:] or ids,)], self.pad_id).to(self.device)
            with torch.no_grad():
                batch = replace(batch, hidden=self.replay.capture(self.logits, batch))
            self.constant = find_constant_input(self.anatomy.layers[index], self.logits, batch)
        return self.replay

    def uncut(self) -> None:
        """Let the network run whole again."""
        if self.constant is not None:
            self.constant.remove()
            self.constant = None
        if self.replay is not None:
            self.replay.remove()
            self.replay = None

    def _widened(self, hidden: Tensor) -> Tensor:
        return hidden if self.unpadding is None else self.unpadding.widened(hidden)

    def tail(self) -> list[nn.Module]:
        """Return the modules that run behind the cut: the layers from there on, the final norm and the head."""
        if self.replay is None:
            return [self.network]
        names = {name.rpartition(".")[0] for name in self.anatomy.after}
        outside = [
            module for name, module in self.network.named_children() if module is not self.network.base_model
        ]
        behind = [module for name, module in self.network.named_modules() if name in names]
        return [*self.anatomy.layers[self.replay.cut :], *behind, *outside]

    def train_mode(self) -> None:
        """Enable dropout in the trained part; frozen layers below the cut do not run."""
        network = self.network
        if network.training:
            return
        if self.replay is None:
            network.train()
            return
        for module in self.tail():
            module.train()
        network.training = True

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass.

        Raises:
            UsageError: The architecture does not support it.
        """
        if not self.network.supports_gradient_checkpointing:
            raise UsageError(
                f"{type(self.network).__name__} has no gradient checkpointing. Leave out --gradient-checkpointing."
            )
        if self.reading is not None:  # a recomputed layer must give the same tensors as its first pass
            self.reading.remove()
        if self.unpadding is not None:
            self.unpadding.remove()
            self.unpadding = None
        self.network.gradient_checkpointing_enable({"use_reentrant": False})

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
        pad_id: int = self.tokenizer.pad_token_id
        return pad_id

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
        budget = lane_budget(sum(lengths), most, len(self.lanes), self.products_per_token(windows))
        return token_budget_batches(lengths, budget, unpadded=self.unpads(self._first(windows)))

    def products_per_token(self, inputs: Inputs) -> int:
        """Return the multiplications for a token in the layers that run: those behind the cut of stored features."""
        return sum(self._products[self._first(inputs) :])

    def _first(self, inputs: Inputs) -> int:
        return 0 if inputs.features is None or self.replay is None else self.replay.cut

    def unpads(self, first: int = 0) -> bool:
        """Tell whether the layers from `first` on get no padding, which then costs little."""
        own = self.unpadding
        return own is not None and own.enabled and first <= own.last and self.device.type == "cpu"

    @contextlib.contextmanager
    def padded(self) -> Iterator[None]:
        """Let every layer have the form `(W, T, H)` for the time of the block."""
        if self.unpadding is None:
            yield
            return
        before, self.unpadding.enabled = self.unpadding.enabled, False
        try:
            yield
        finally:
            self.unpadding.enabled = before

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return each text's full length in tokens, before anything is cut, special tokens included."""
        return self.encoder.count(texts)

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits of a batch, `(B, C)` float32, with gradient where that is enabled."""
        if batch.hidden is not None and self.replay is not None and self.replay.head is not None:
            return self._of_texts(self.replay.head(batch.hidden[:, 0]).float(), batch)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self._give_positions:  # positions count from the first real token, wherever the padding is
            inputs["position_ids"] = (batch.attention_mask.cumsum(1) - 1).clamp(min=0)
        with contextlib.nullcontext() if self.side_by_side else self._alone:
            if self.replay is not None:
                self.replay.feed(batch.hidden)
            windows = self._run(inputs, 0 if batch.hidden is None or self.replay is None else self.replay.cut)
        return self._of_texts(windows, batch)

    def _of_texts(self, windows: Tensor, batch: Batch) -> Tensor:
        """Return the logits of texts, `(B, C)`, from those of their windows, `(W, C)`."""
        if len(windows) == batch.size:
            return windows
        how = {"mean": "mean", "max": "amax"}[self.settings.window_pooling]
        return torch.zeros(batch.size, windows.shape[1], device=windows.device).scatter_reduce(
            0, batch.owner.unsqueeze(1).expand_as(windows), windows, how, include_self=False
        )

    def _run(self, inputs: dict[str, Tensor], first: int) -> Tensor:
        """Run the network, from layer `first` on if what lies below is fed, and return the logits `(W, C)`."""
        try:
            if self.unpadding is None:
                return self.network(**inputs).logits.float()  # type: ignore[no-any-return]
            with self.unpadding.of(inputs["attention_mask"], first):
                return self.network(**inputs).logits.float()  # type: ignore[no-any-return]
        finally:
            if self.reading is not None:
                self.reading.leave()
