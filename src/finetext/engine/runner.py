"""Running a sequence classifier on batches: backbone, pooling, head; from a cut on, packed, and as far as needed.

A network keeps its modules and their names. Its layers and its backbone get another `forward` (`engine/forward.py`).
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from finetext.engine.attention import LayerReached, Pass, running, use_attention
from finetext.engine.batching import Batch, collate
from finetext.engine.forward import BackboneForward, LayerForward
from finetext.engine.kernels import FastPath
from finetext.engine.packing import Packing, find_packing

Pool = Literal["first", "last", "mean"]
TOLERANCE = 1e-4
"""Largest difference of a pooled vector, relative to its largest number, between a fast path and the ordinary way."""
HEAD_TOLERANCE = 1e-3
"""The same for logits: those of a head with large weights are small differences of large sums."""


def pool(hidden: Tensor, mask: Tensor, how: Pool) -> Tensor:
    """Return one vector a row.

    Args:
        hidden: `(B, T, H)`.
        mask: `(B, T)`, 1 for real tokens, at either side.
        how: `last` real token, `first` real token, or the `mean` of the real tokens.

    Returns:
        `(B, H)`.
    """
    if how == "mean":
        weight = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), _read_positions(mask, how)]


def _read_positions(mask: Tensor, how: Pool) -> Tensor:
    if how == "first":
        return mask.to(torch.int).argmax(1)
    return (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)


class Runner:
    """Runs a sequence classifier on batches.

    Attributes:
        network: The Hugging Face model.
        layers: Its layers in order; empty if it has no separate one for each depth.
        how: Which position the head reads.
        cut: Index of the first layer that runs on stored features, the depth for the head alone; 0 without a cut.
        paths: The fast paths by name.
    """

    def __init__(
        self,
        network: Any,
        layers: tuple[nn.Module, ...],
        native: Pool,
        how: Pool,
        pad_id: int,
        token_ids: list[int],
    ) -> None:
        """Take a network, and find out what it can do.

        Args:
            network: A sequence classifier.
            layers: Its layers in order.
            native: Which position its head reads by itself.
            how: Which position it is to read. Another one needs the path `pooled head`.
            pad_id: Fills batches.
            token_ids: Some ids of ordinary tokens, to try the fast paths with.
        """
        self.network, self.layers, self.how = network, layers, native
        self.cut = 0
        self.paths: dict[str, FastPath] = {}
        self._pad_id, self._token_ids = pad_id, token_ids
        self._finishes_apart = False
        parameters = inspect.signature(network.base_model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._gives_positions = self._takes_positions and native == "last"  # for padding at either side
        self._constants = {"use_cache": False} if "use_cache" in parameters else {}
        self._position_offset = _position_offset(network.base_model)
        network.base_model.forward = BackboneForward(network.base_model.forward)
        for index, layer in enumerate(layers):
            layer.forward = LayerForward(layer.forward, index, last=index == len(layers) - 1)
        self._find_paths(how)

    def _find_paths(self, how: Pool) -> None:
        """Try each fast path on a few short texts and keep those that give the same logits."""
        ids = self._token_ids
        # Without padding: some networks read the last position of it, and are to read the last real token.
        even = [[ids, ids[::-1], ids[1:] + ids[:1]], [ids[:2], ids[-2:]]]
        # With padding; the second has as many texts as tokens.
        uneven = [[ids, ids[1:] or ids, ids[:1], ids[:2]], [ids[:4], ids[:1], ids[:2], ids[:1]]]
        even_batches, batches = (
            [collate([(text,) for text in texts], self._pad_id) for texts in lists]
            for lists in (even, uneven)
        )
        with torch.no_grad(), evaluating(self.network):
            logits = [self(batch) for batch in even_batches]  # no path is on yet
            own_attention = use_attention(self.network)
            self._try("pooled head", None, self.__call__, even_batches, logits, HEAD_TOLERANCE)
            unsuitable = self.paths["pooled head"].reason or own_attention
            if self.is_on("pooled head"):
                self.how = how
            vectors = [] if unsuitable else [self._vectors(batch) for batch in batches]
            no_positions = None if self._takes_positions else "the model takes no position ids"
            self._try("packed batches", unsuitable or no_positions, self._vectors, batches, vectors)
            every_position = "the head reads every position" if how == "mean" else None
            no_layers = None if self.layers else "the model has no separate layer for each depth"
            unsuitable = unsuitable or every_position or no_layers
            self._try("read position", unsuitable, self._vectors, batches, vectors)
            if not unsuitable and not self.is_on("read position"):
                self._finishes_apart = True  # GPT-2's backbone gives its output the shape of its input
                self._try("read position", None, self._vectors, batches, vectors)

    def _try(
        self,
        name: str,
        unsuitable: str | None,
        run: Callable[[Batch], Tensor],
        batches: list[Batch],
        expected: list[Tensor],
        tolerance: float = TOLERANCE,
    ) -> None:
        """Switch a path on, and off again if it changes what `run` gives for some batches."""
        self.paths[name] = FastPath(not unsuitable, unsuitable or "")
        if unsuitable:
            return
        try:
            for batch, output in zip(batches, expected, strict=True):
                _require_equal(run(batch), output, tolerance)
        except Exception as error:  # networks of another form raise anything; the reason is reported
            self.paths[name] = FastPath(False, _line(error))

    def is_on(self, name: str) -> bool:
        """Tell whether a fast path is used."""
        return name in self.paths and self.paths[name].on

    def switch_off(self, name: str, reason: str) -> None:
        """Do without a fast path from now on."""
        if self.is_on(name):
            self.paths[name] = FastPath(False, reason)

    @contextlib.contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Do without some fast paths for the time of the block."""
        before = dict(self.paths)
        for name in names:
            self.switch_off(name, "switched off for now")
        try:
            yield
        finally:
            self.paths = before

    def __call__(self, batch: Batch) -> Tensor:
        """Return the logits of a batch's windows, `(W, C)` float32."""
        if not self.is_on("pooled head"):
            return self._run_whole(batch)
        features_are_vectors = batch.hidden is not None and self.cut == len(self.layers)
        return self._head(batch.hidden if features_are_vectors else self._vectors(batch).unsqueeze(1))

    def capture(self, batch: Batch) -> list[Tensor]:
        """Run the layers below the cut, or everything below the head, and return each window's features `(n, H)`."""
        if self.cut == len(self.layers):
            return list(self._vectors(batch).unsqueeze(1))
        packing = self._packing(batch)
        this = Pass(stop_after=self.cut - 1, packing=packing)
        with running(this), contextlib.suppress(LayerReached):
            self._run_backbone(batch, packing)
        hidden = _required(this.hidden)
        if packing is not None:
            return packing.texts(hidden)
        return [row[real.bool()] for row, real in zip(hidden, batch.attention_mask, strict=True)]

    def set_cut(self, index: int) -> str | None:
        """Cut the network in front of a layer, so that it can start at stored features; 0 for no cut.

        Returns:
            Why it cannot be cut there, None if it is.
        """
        self.cut = 0
        if index == 0:
            return None
        if not index <= len(self.layers):
            return "the model has no separate layer for each depth"
        if index == len(self.layers) and not self.is_on("pooled head"):
            return self.paths["pooled head"].reason
        ids = self._token_ids
        batch = collate([(ids[:1],), (ids,), (ids[1:] or ids,)], self._pad_id).to(self.network.device)
        run = self._vectors if self.is_on("pooled head") else self.__call__
        try:
            with torch.no_grad(), evaluating(self.network):
                expected = run(batch)
                self.cut = index
                features = nn.utils.rnn.pad_sequence(self.capture(batch), batch_first=True)
                if index < len(self.layers):
                    _require_equal(run(batch.with_hidden(features)), expected, TOLERANCE)
        except Exception as error:  # as in `_try`
            self.cut = 0
            return _line(error)
        return None

    def _run_whole(self, batch: Batch) -> Tensor:
        """Run the network as it is, on padded texts."""
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self._gives_positions:
            inputs["position_ids"] = _positions(batch)
        with running(Pass(cut=self.cut, features=batch.hidden)):
            return self.network(**inputs).logits.float()  # type: ignore[no-any-return]

    def _vectors(self, batch: Batch) -> Tensor:
        """Return what the head reads of each window, `(W, H)`."""
        packing = self._packing(batch)
        features = batch.hidden
        if packing is not None and features is not None:
            features = packing.pack(features)
        this = Pass(cut=self.cut, features=features, packing=packing)
        if self.is_on("read position"):
            this.read = self._read_positions(batch, packing)
            this.stop_after = len(self.layers) - 1 if self._finishes_apart else None
        with running(this), contextlib.suppress(LayerReached):
            this.hidden = self._run_backbone(batch, packing)
        hidden = _required(this.hidden)
        if this.read is not None:
            hidden = hidden if packing is None else hidden.transpose(0, 1)  # (1, W, H) -> (W, 1, H)
            vectors = (self._finish(hidden) if self._finishes_apart else hidden)[:, 0]
        elif packing is None:
            vectors = pool(hidden, batch.attention_mask, self.how)
        elif self.how == "mean":
            vectors = packing.mean(hidden)
        else:
            vectors = hidden[0, self._read_positions(batch, packing)]
        return vectors if packing is None else vectors[packing.order.argsort()]

    def _read_positions(self, batch: Batch, packing: Packing | None) -> Tensor:
        """Return the position of each text that the head reads: in the batch `(W,)`, or in packed order."""
        if packing is None:
            return _read_positions(batch.attention_mask, self.how)
        return packing.starts + (packing.lengths - 1 if self.how == "last" else 0)

    def _packing(self, batch: Batch) -> Packing | None:
        usable = batch.input_ids.device.type == "cpu" and 1 not in batch.input_ids.shape
        return find_packing(batch.attention_mask) if usable and self.is_on("packed batches") else None

    def _run_backbone(self, batch: Batch, packing: Packing | None) -> Tensor:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, **self._constants}
        if packing is not None:
            ids = packing.pack(batch.input_ids)
            inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
            inputs["position_ids"] = packing.positions() + self._position_offset
        elif self._gives_positions:
            inputs["position_ids"] = _positions(batch)
        return self.network.base_model(**inputs)[0]  # type: ignore[no-any-return]

    def _finish(self, hidden: Tensor) -> Tensor:
        """Run what follows the backbone's layers on `(W, 1, H)`, while the layers hand it on."""
        ids = torch.full(hidden.shape[:2], self._pad_id, device=hidden.device)
        with running(Pass(cut=len(self.layers), features=hidden)):
            return self.network.base_model(  # type: ignore[no-any-return]
                input_ids=ids, attention_mask=torch.ones_like(ids), **self._constants
            )[0]

    def _head(self, vectors: Tensor | None) -> Tensor:
        """Return the logits of pooled vectors, `(W, 1, H) -> (W, C)`."""
        vectors = _required(vectors)
        ids = torch.full((len(vectors), 1), self._pad_id, device=vectors.device)
        with running(Pass(vectors=vectors)):
            return self.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()  # type: ignore[no-any-return]


def _required(hidden: Tensor | None) -> Tensor:
    if hidden is None:
        raise RuntimeError("the forward pass did not come to the layer whose output is needed")
    return hidden


def _positions(batch: Batch) -> Tensor:
    """Return positions that count from the first real token, wherever the padding is, `(W, T)`."""
    return (batch.attention_mask.cumsum(1) - 1).clamp(min=0)


def _position_offset(backbone: Any) -> int:
    """Return the position id of a text's first token: a table with a padding row counts from behind it (RoBERTa)."""
    table = getattr(getattr(backbone, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    return 0 if padding is None else padding + 1


def _require_equal(output: Tensor, expected: Tensor, tolerance: float) -> None:
    difference, scale = float((output - expected).abs().max()), float(expected.abs().max())
    if not difference <= tolerance * scale:
        raise ValueError(f"its outputs differ by {difference:.1e} of {scale:.1e}")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout off for the time of the block."""
    if not network.training:  # going through all modules takes as long as half a layer does for a short text
        yield
        return
    # Of a cut network only what is trained: dropout below the cut would be computed for nobody.
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
