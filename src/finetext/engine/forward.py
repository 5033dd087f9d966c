"""The forward passes that take the place of a backbone's and its layers' own, as the thread's `Pass` asks for.

Outside of a pass they are the ordinary ones.
"""

from typing import Any

import torch
from torch import Tensor, nn

from finetext.engine.attention import KeysComputed, LayerReached, Pass, current_pass

PER_TOKEN = ("position_embeddings", "position_ids")
"""Arguments of a layer, besides the hidden states, that have a place for each token."""


class BackboneForward:
    """A backbone's forward pass, whose output pooled vectors may take the place of."""

    def __init__(self, ordinary: Any) -> None:
        self._ordinary = ordinary
        self._output: Any = None  # the class of its output, or a tuple

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the backbone, or return the pass's pooled vectors in the form of its output."""
        this = current_pass()
        if this is None or this.vectors is None:
            output = self._ordinary(*args, **kwargs)
            self._output = (None, *output[1:]) if isinstance(output, tuple) else type(output)
            return output
        if isinstance(self._output, tuple):
            return (this.vectors, *self._output[1:])
        fields: dict[str, Any] = {"last_hidden_state": this.vectors}
        backbone = self._ordinary.__self__
        pooler = getattr(backbone, "pooler", None)
        if isinstance(pooler, nn.Linear):  # ALBERT's, which is given the one position
            fields["pooler_output"] = backbone.pooler_activation(pooler(this.vectors[:, 0]))
        elif isinstance(pooler, nn.Module):
            fields["pooler_output"] = pooler(this.vectors)
        return self._output(**fields)


class LayerForward:
    """A layer's forward pass, which may hand on features, stop, or end at the read positions."""

    def __init__(self, ordinary: Any, index: int, *, last: bool) -> None:
        self._ordinary, self._index, self._last = ordinary, index, last
        self._tail: tuple[Any, ...] | None = None  # what follows the hidden states if the output is a tuple

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer, or return the pass's features if it is below the cut."""
        this = current_pass()
        if this is None:
            return self._ordinary(*args, **kwargs)
        if this.features is not None and self._index < this.cut:
            return this.features if self._tail is None else (this.features, *self._tail)
        at_read_positions = self._last and this.read is not None
        run = self._at_read_positions if at_read_positions else self._ordinary
        output = run(*args, **kwargs)
        self._tail = (None,) * (len(output) - 1) if isinstance(output, tuple) else None
        if this.stop_after == self._index:
            this.hidden = output if self._tail is None else output[0]
            raise LayerReached
        return output

    def _at_read_positions(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer twice: for all positions up to its keys and values, and for the read positions to the end."""
        this = current_pass()
        if this is None:
            return self._ordinary(*args, **kwargs)
        this.wants_keys = True
        try:
            self._ordinary(*args, **kwargs)
        except KeysComputed:
            pass
        finally:
            this.wants_keys = False
        args = (_at_read(this, args[0]), *args[1:]) if args else args
        narrow = {
            name: _at_read(this, value) if name in ("hidden_states", *PER_TOKEN) else value
            for name, value in kwargs.items()
        }
        try:
            return self._ordinary(*args, **narrow)
        finally:
            this.keys = None


def _at_read(this: Pass, value: Any) -> Any:
    """Return what stands at the read positions: `(W | 1, T, …) -> (W, 1, …)`, packed `(1, N, …) -> (1, W, …)`."""
    if isinstance(value, tuple):  # rotary embeddings come in pairs
        return tuple(_at_read(this, part) for part in value)
    if not isinstance(value, Tensor) or this.read is None:
        return value
    if this.packing is not None:
        return value[:, this.read]
    texts = torch.arange(len(this.read), device=value.device)
    return value.expand(len(texts), *value.shape[1:])[texts, this.read].unsqueeze(1)
