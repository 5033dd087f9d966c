"""Only the position that is read: behind the last attention, a classifier needs one position of each text.

In the last layer the attention mixes positions; what follows (its output projection, the norms, the MLP) works
on each position alone, and the head reads one. Those modules get that position and nothing else, and so do the
sums of residuals. What leaves the layer stands for the other positions too, whose values nobody reads.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from finetext.engine.batching import Batch, collate
from finetext.engine.cut import Forward
from finetext.engine.passes import PassState

_SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)


class _OneQuery(TorchFunctionMode):
    """Lets attention answer the query of the read position alone, for all of them, and residuals be added there."""

    def __init__(self, index: Tensor, length: int) -> None:
        super().__init__()
        self._index, self._length = index, length

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in _SUMS:
            return function(*self._narrow_terms(*args), **kwargs)
        if function is not functional.scaled_dot_product_attention or args[0].shape[-2] != self._length:
            return function(*args, **kwargs)
        return self._attend(*args, **kwargs)

    def _narrow_terms(self, *terms: Any) -> tuple[Any, ...]:
        if all(isinstance(own, Tensor) and own.ndim == 3 for own in terms):
            lengths = {own.shape[1] for own in terms}
            if lengths == {1, self._length}:
                return tuple(own if own.shape[1] == 1 else at(own, self._index) for own in terms)
        return terms

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        rows = torch.arange(len(query), device=query.device)
        query = query[rows, :, self._index].unsqueeze(2)  # (W, heads, 1, D)
        if is_causal:
            places = torch.arange(key.shape[-2], device=query.device)
            attn_mask = (places <= self._index.unsqueeze(1))[:, None, None]  # (W, 1, 1, T)
        elif attn_mask is not None and attn_mask.shape[-2] == self._length:
            attn_mask = attn_mask.expand(len(rows), -1, -1, -1)[rows, :, self._index].unsqueeze(2)
        out = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attn_mask, dropout_p=dropout_p, is_causal=False, **kwargs
        )
        return out.expand(-1, -1, self._length, -1)


def at(hidden: Tensor, index: Tensor) -> Tensor:
    """Return a position of each text, `(W, T, H), (W,) -> (W, 1, H)`."""
    return hidden[torch.arange(len(hidden), device=hidden.device), index].unsqueeze(1)


class _Pass(PassState):
    index: Tensor | None = None  # (W,), of the read position
    length = 0
    queries: _OneQuery | None = None
    widened: tuple[Tensor, Tensor] | None = None  # what was handed on last, and the position it is made of


class ReadPosition:
    """Narrows the position-wise modules of a network's last layer to the position that its head reads.

    Attributes:
        before: The modules of the last layer that stand before its attention, and compute every position.
    """

    def __init__(self, read: Literal["first", "last"]) -> None:
        self.before: list[nn.Module] = []
        self._read = read
        self._pass = _Pass()
        self._handles: list[Any] = []

    def install(
        self, network: nn.Module, narrowed: list[nn.Module], layer: nn.Module, behind: list[nn.Module]
    ) -> None:
        """Narrow the modules of the last layer that stand behind its attention, and those behind it."""
        self._handles.append(network.register_forward_pre_hook(self._find, with_kwargs=True))
        self._handles.append(layer.register_forward_pre_hook(self._enter))
        self._handles.append(layer.register_forward_hook(self._leave, always_call=True))
        for module in (*narrowed, *behind):
            self._handles.append(module.register_forward_pre_hook(self._narrow))
        for module in (layer, *behind):
            self._handles.append(module.register_forward_hook(self._widen))

    def remove(self) -> None:
        """Let every position be computed again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _find(self, network: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if mask is None or mask.ndim != 2 or mask.shape[1] == 1:
            self._pass.index = None
            return
        self._pass.length = mask.shape[1]
        if self._read == "last":
            places = torch.arange(self._pass.length, device=mask.device)
            self._pass.index = (mask * places).argmax(1)
        else:
            self._pass.index = mask.to(torch.int).argmax(1)

    def _enter(self, layer: nn.Module, args: Any) -> None:
        if self._pass.index is not None:
            self._pass.queries = _OneQuery(self._pass.index, self._pass.length)
            self._pass.queries.__enter__()  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        """Let attention be what it is; to be called after a pass too, which may have been interrupted."""
        if self._pass.queries is not None:
            self._pass.queries.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            self._pass.queries = None
        self._pass.widened = None

    def _leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        self.leave()

    def _narrow(self, module: nn.Module, args: Any) -> Any:
        if self._pass.index is None or not args or args[0].ndim != 3 or args[0].shape[1] != self._pass.length:
            return None
        known = self._pass.widened
        narrow = known[1] if known is not None and known[0] is args[0] else at(args[0], self._pass.index)
        return (narrow, *args[1:])

    def _widen(self, module: nn.Module, args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if self._pass.index is None or hidden.ndim != 3 or hidden.shape[1] != 1:
            return None
        wide = hidden.expand(-1, self._pass.length, -1)
        self._pass.widened = (wide, hidden)
        return (wide, *output[1:]) if isinstance(output, tuple) else wide


def read_one_position(
    network: Any,
    layers: tuple[nn.Module, ...],
    read: str,
    forward: Forward,
    token_ids: list[int],
    pad_id: int,
) -> ReadPosition | None:
    """Narrow a network to the position that is read, and prove that its logits stay the same.

    Which modules are position-wise is found by structure: with the layer's input changed at one position, the
    first module whose input changes at another stands behind the attention, and so do all that run after it.

    Returns:
        The handle; None where the head reads more than one position, or the network cannot be narrowed.
    """
    if not layers or read not in ("first", "last"):
        return None
    was_training = network.training
    network.eval()
    reading = ReadPosition("last" if read == "last" else "first")
    try:
        with torch.no_grad():
            batch = collate([(token_ids,), (token_ids[1:],), (token_ids[:1],)], pad_id)
            batch = batch.to(next(network.parameters()).device)
            expected = forward(batch)
            reading.before, narrowed, behind = _around_attention(network, layers[-1], forward, batch)
            if narrowed:
                reading.install(network, narrowed, layers[-1], behind)
                found = forward(batch)
                scale = expected.abs().max()
                if bool((found - expected).abs().max() <= 1e-4 * scale):
                    return reading
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        pass  # a layer of another form: all its positions are computed
    finally:
        network.train(was_training)
    reading.remove()
    return None


def _around_attention(
    network: Any, layer: nn.Module, forward: Forward, batch: Batch
) -> tuple[list[nn.Module], list[nn.Module], list[nn.Module]]:
    """Return the modules of `layer` before its attention, those behind it, and those behind the layer.

    Of the last ones those that read every position.
    """
    inside_backbone = set(network.base_model.modules())
    plain = _inputs_of_leaves(network, layer, forward, batch, change=False)
    changed = _inputs_of_leaves(network, layer, forward, batch, change=True)
    before: list[nn.Module] = []
    narrowed: list[nn.Module] = []
    behind: list[nn.Module] = []
    mixed = False
    for (module, inside, given), (_, _, after) in zip(plain, changed, strict=True):
        if given.ndim != 3 or given.shape[1] != batch.input_ids.shape[1]:
            continue
        if not inside:
            if mixed and (module not in inside_backbone or "norm" in type(module).__name__.lower()):
                behind.append(module)
            continue
        mixed = mixed or not torch.equal(given[0, 1], after[0, 1])
        (narrowed if mixed else before).append(module)
    return before, narrowed, behind


def _inputs_of_leaves(
    network: Any, layer: nn.Module, forward: Forward, batch: Batch, change: bool
) -> list[tuple[nn.Module, bool, Tensor]]:
    """Run the network and return the inputs of the leaves of `layer` and of those that run after it."""
    seen: list[tuple[nn.Module, bool, Tensor]] = []
    state = {"inside": False, "entered": False}

    def enter(module: nn.Module, args: Any, kwargs: Any) -> Any:
        state.update(inside=True, entered=True)
        if not change:
            return None
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, 0] += torch.sin(torch.arange(hidden.shape[-1], device=hidden.device))
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

    def leave(*_: Any) -> None:
        state["inside"] = False

    def note(module: nn.Module, args: Any) -> None:
        if state["entered"] and args and isinstance(args[0], Tensor):
            seen.append((module, state["inside"], args[0].clone()))

    leaves = [
        module
        for module in network.modules()
        if next(module.children(), None) is None and next(module.parameters(), None) is not None
    ]
    handles: list[Any] = [layer.register_forward_pre_hook(enter, with_kwargs=True, prepend=True)]
    handles.append(layer.register_forward_hook(leave))
    handles += [module.register_forward_pre_hook(note) for module in leaves]
    try:
        forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    return seen
