"""No work on padding: between the embedding and the last layer, the tokens of a batch stand in one row.

A layer works on each position alone, but for its attention. So the layers get the real tokens of all texts as
`(1, N, H)`, and only around the attention texts of like length are laid out side by side again. Lists too short
to hold many texts of one length gain most: they run as one batch.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from finetext.engine.batching import collate
from finetext.engine.cut import Forward
from finetext.engine.passes import PassState

MOST_PADDING = 64
"""Padding, in tokens, that texts in one attention may have: more would cost more than another call."""
LEAST_SAVED = 0.12
"""A batch with a smaller share of padding is run as it is."""
LEAST_ROUNDING = 8
"""A row has a multiple of so many tokens, a long one a multiple of up to an eighth of its own. oneDNN compiles a
product for every length and keeps it: with few lengths it rarely has to, and what is kept does not split the heap."""


@dataclass(frozen=True)
class _Group:
    """Texts of like length, side by side in one attention.

    Attributes:
        tokens: Their tokens in the row of all.
        rows: `(B,)`, their places in the batch; B texts.
        width: T, tokens of the longest.
        spread: `(B * T,)`, which of their n tokens stands at each place; in the padding one that is masked anyway.
            None if no text is shorter than another.
        places: `(n,)`, the places of their tokens.
    """

    tokens: slice
    rows: Tensor
    width: int
    spread: Tensor | None
    places: Tensor

    def lay_out(self, row: Tensor) -> Tensor:
        """Return tokens `(N, heads, D)` as `(B, heads, T, D)`."""
        own = row[self.tokens]
        if self.spread is not None:
            own = own.index_select(0, self.spread)
        return own.view(len(self.rows), self.width, *own.shape[1:]).transpose(1, 2)

    def line_up(self, out: Tensor) -> Tensor:
        """Return `(B, heads, T, D)` as tokens `(n, heads, D)`."""
        own = out.transpose(1, 2).flatten(0, 1)
        return own if self.spread is None else own.index_select(0, self.places)

    def cut_out(self, mask: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Return what an attention mask `(B, heads, T, T)` of the whole batch says of these texts, None for nothing."""
        own = mask if len(mask) == 1 else mask.index_select(0, self.rows)
        own = own[:, :, : self.width, : self.width]
        if own.dtype != torch.bool:
            return own
        # Added up here once; attention would make the same of a mask of bools in every layer.
        return (
            None if bool(own.all()) else torch.zeros(own.shape, dtype=dtype).masked_fill_(~own, float("-inf"))
        )


@dataclass
class _Layout:
    """Where the real tokens of a batch stand.

    Attributes:
        shape: `(W, T)` of the batch.
        index: `(N,)`, the places of its real tokens among `W * T`, longest text first, then the last one again until
            the row has a round length.
        spread: `(W * T,)`, which of the N tokens stands at each place; in the padding the last one of that text.
        groups: Texts that attend together.
        known: What was made of arguments that every layer gets, by their id.
    """

    shape: tuple[int, int]
    index: Tensor
    spread: Tensor
    groups: list[_Group]
    known: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def narrow(self, hidden: Tensor) -> Tensor:
        """Return `(W, T, …)`, or `(1, T, …)` that holds for every text, as `(1, N, …)`."""
        hidden = hidden.expand(*self.shape, *hidden.shape[2:])
        return hidden.flatten(0, 1).index_select(0, self.index).unsqueeze(0)

    def widen(self, hidden: Tensor) -> Tensor:
        """Return `(1, N, …)` as `(W, T, …)`; the padding holds what nobody may read."""
        return hidden[0].index_select(0, self.spread).view(*self.shape, *hidden.shape[2:])

    def is_row(self, value: Tensor) -> bool:
        """Tell whether something is the row of tokens, `(1, N, …)`."""
        return value.ndim == 3 and value.shape[:2] == (1, len(self.index))

    def is_wide(self, value: Any) -> bool:
        """Tell whether something has a place for each token of the batch, padding included."""
        return (
            isinstance(value, Tensor)
            and value.ndim in (2, 3)
            and value.shape[1] == self.shape[1]
            and value.shape[0] in (1, self.shape[0])
        )

    def narrow_argument(self, value: Any) -> Any:
        """Return an argument of a layer with the real tokens alone; rotary embeddings come in pairs."""
        if isinstance(value, tuple):
            return tuple(self.narrow_argument(part) for part in value)
        if not self.is_wide(value):
            return value
        return self._once(value, lambda: self.narrow(value))

    def masks(self, mask: Tensor, dtype: torch.dtype) -> list[Tensor | None]:
        """Return the attention mask of each group, in the precision of the queries."""
        found: list[Tensor | None] = self._once(
            mask, lambda: [group.cut_out(mask, dtype) for group in self.groups]
        )
        return found

    def _once(self, value: Any, compute: Callable[[], Any]) -> Any:
        # Every layer gets the same embeddings and masks. They are kept with the result, so that no other has their id.
        if id(value) not in self.known:
            self.known[id(value)] = (value, compute())
        return self.known[id(value)][1]


class _Pass(PassState):
    layout: _Layout | None = None
    first = 0  # index of the first layer that gets the row of tokens
    inside: int | None = None  # the layer that runs


class Unpadding(TorchFunctionMode):
    """Lets layers of a network work on real tokens alone, on the CPU.

    While a batch is under way it answers `scaled_dot_product_attention` of the row of tokens within each text.

    Attributes:
        last: Index of the last one that can.
        enabled: Set to False to run the network as it is.
    """

    def __init__(self, layers: tuple[nn.Module, ...], leaves: list[nn.Module]) -> None:
        """Take the layers that get rows of tokens, and single modules that do outside of them."""
        super().__init__()
        self.enabled = True
        self.last = len(layers) - 1
        self._pass = _Pass()
        self._attended: set[int] = set()  # layers whose attention was answered
        self._handles: list[Any] = []
        for index, layer in enumerate(layers):
            enter, leave = partial(self._enter, index), partial(self._leave, index)
            self._handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            self._handles.append(layer.register_forward_hook(leave))
        for leaf in leaves:
            if next(leaf.parameters()).ndim < 2:  # a norm costs less than leaving its padding out
                continue
            self._handles.append(leaf.register_forward_pre_hook(self._narrow))
            self._handles.append(leaf.register_forward_hook(self._widen))

    def remove(self) -> None:
        """Let the network run as it is for good."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextlib.contextmanager
    def of(self, mask: Tensor, first: int = 0) -> Iterator[None]:
        """Leave the padding of a batch out in the block, where there is enough.

        Args:
            mask: The batch's, `(W, T)`.
            first: Index of the first layer that computes; those before only hand something on.
        """
        usable = self.enabled and first <= self.last and mask.device.type == "cpu" and 1 not in mask.shape
        self._pass.first = first
        self._pass.layout = _find_layout(mask) if usable else None
        if self._pass.layout is None:
            yield
            return
        try:
            with self:  # and no hook of a layer: those are not called when a pass is interrupted
                yield
        finally:
            self._pass.layout = self._pass.inside = None

    def proves_equal(self, network: nn.Module, forward: Forward, token_ids: list[int], pad_id: int) -> bool:
        """Tell whether every layer gets the row of tokens and the logits stay the same; if not, remove this.

        Args:
            network: The network of the layers.
            forward: Runs it on a batch, in the block of `of`.
            token_ids: Some ids of ordinary tokens, for the proof.
            pad_id: Fills the batches of the proof.
        """
        lists = [token_ids, token_ids[1:], token_ids[:1], token_ids[:2]]
        square = [token_ids[:4], token_ids[:1], token_ids[:2], token_ids[:1]]  # as many texts as tokens
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad():
                if all(self._proves_equal(windows, forward, pad_id) for windows in (lists, square)):
                    return True
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError):
            pass  # layers of another form: they run with the padding
        finally:
            network.train(was_training)
        self.remove()
        return False

    def _proves_equal(self, windows: list[list[int]], forward: Forward, pad_id: int) -> bool:
        batch = collate([(ids,) for ids in windows], pad_id)
        self.enabled = False
        expected = forward(batch)
        self.enabled, self._attended = True, set()
        found = forward(batch)
        scale = expected.abs().max()
        equal = bool((found - expected).abs().max() <= 1e-4 * scale) and bool(scale > 0)
        return equal and self._attended == set(range(self.last + 1))

    def widened(self, hidden: Tensor) -> Tensor:
        """Return what a layer gave as `(W, T, H)`; to be called during the forward pass."""
        if self._pass.layout is None or not self._pass.layout.is_row(hidden):
            return hidden
        return self._pass.layout.widen(hidden)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Attend within each text, inside of the layers; let all else be what it is."""
        kwargs = kwargs or {}
        if function is not functional.scaled_dot_product_attention or self._pass.inside is None:
            return function(*args, **kwargs)
        self._attended.add(self._pass.inside)
        return self._attend(*args, **kwargs)

    def _attend(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **kwargs: Any
    ) -> Tensor:
        layout = self._pass.layout
        if layout is None or len(query) != 1 or query.shape[2] != len(layout.index):
            raise ValueError("this attention is not over the row of tokens")
        masks = [None] * len(layout.groups) if attn_mask is None else layout.masks(attn_mask, query.dtype)
        rows = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]  # (N, heads, D)
        outs = []
        for group, mask in zip(layout.groups, masks, strict=True):
            own_query, own_key, own_value = (group.lay_out(row) for row in rows)  # (B, heads, T, D)
            out = functional.scaled_dot_product_attention(
                own_query, own_key, own_value, attn_mask=mask, **kwargs
            )
            outs.append(group.line_up(out))
        outs.append(rows[0][layout.groups[-1].tokens.stop :])  # what makes the row round attends to nothing
        return torch.cat(outs).transpose(0, 1).unsqueeze(0)

    def _enter(self, index: int, layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        layout = self._pass.layout
        if layout is None or index < self._pass.first:
            return None
        self._pass.inside = index
        return (
            layout.narrow_argument(args),
            {name: layout.narrow_argument(value) for name, value in kwargs.items()},
        )

    def _leave(self, index: int, layer: nn.Module, args: Any, output: Any) -> Any:
        self._pass.inside = None
        if self._pass.layout is None or index < self.last:
            return None
        if isinstance(output, tuple):
            return (self.widened(output[0]), *output[1:])
        return self.widened(output)

    def _narrow(self, leaf: nn.Module, args: Any) -> Any:
        if self._pass.layout is None or not args or not self._pass.layout.is_wide(args[0]):
            return None
        return (self._pass.layout.narrow_argument(args[0]), *args[1:])

    def _widen(self, leaf: nn.Module, args: Any, output: Any) -> Any:
        return self.widened(output)


def _find_layout(mask: Tensor) -> _Layout | None:
    """Return the layout of a batch by its mask `(W, T)`, None if it has hardly any padding, or some in front."""
    lengths, order = mask.sum(1).sort(descending=True, stable=True)
    sizes = lengths.tolist()
    total, width = sum(sizes), mask.shape[1]
    rounded = _rounded(total)
    if total <= width or rounded > (1 - LEAST_SAVED) * mask.numel() or not sizes[-1]:
        return None
    if bool((mask[:, 1:] > mask[:, :-1]).any()):
        return None
    starts = lengths.cumsum(0) - lengths
    columns = torch.arange(width, device=mask.device)
    last = lengths.unsqueeze(1) - 1
    spread = starts.unsqueeze(1) + torch.minimum(columns, last)  # (W, T), longest text first
    real = columns < lengths.unsqueeze(1)
    index = (order.unsqueeze(1) * width + columns)[real]
    index = torch.cat([index, index[-1:].expand(rounded - total)])
    groups = [_group(first, stop, sizes, order, spread, real) for first, stop in _group_bounds(sizes)]
    return _Layout((len(sizes), width), index, spread[order.argsort()].flatten(), groups)


def _rounded(tokens: int) -> int:
    step = max(LEAST_ROUNDING, (1 << tokens.bit_length()) // 16)
    return math.ceil(tokens / step) * step


def _group_bounds(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Divide texts, longest first, into groups without much padding; yield where each starts and ends."""
    first = padding = 0
    for place, size in enumerate(sizes):
        padding += sizes[first] - size
        if padding > MOST_PADDING:
            yield first, place
            first, padding = place, 0
    yield first, len(sizes)


def _group(first: int, stop: int, sizes: list[int], order: Tensor, spread: Tensor, real: Tensor) -> _Group:
    width = sizes[first]
    own = spread[first:stop, :width]
    start = int(own[0, 0])
    return _Group(
        slice(start, start + sum(sizes[first:stop])),
        order[first:stop],
        width,
        None if sizes[stop - 1] == width else (own - start).flatten(),
        real[first:stop, :width].flatten().nonzero().squeeze(1),
    )
