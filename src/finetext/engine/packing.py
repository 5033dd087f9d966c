"""Packed batches: the real tokens of several texts in one row `(1, N)`, without padding.

Everything in a transformer but its attention works on each token by itself. Attention is computed per text, for
groups of texts of about the same length at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

MAX_GROUP_PADDING = 64
"""Padding, in tokens, that the texts of one attention call may have: more would cost more than another call."""
MIN_PADDING_SAVED = 0.12
"""A batch with a smaller share of padding is run padded."""
LENGTH_MULTIPLE = 8
"""A row has a multiple of this many tokens, and a long row a multiple of up to an eighth of its length. oneDNN
compiles and keeps a kernel for every number of rows, so that few different lengths save time and memory."""


@dataclass(frozen=True)
class Group:
    """Texts of about the same length, side by side in one attention call.

    Attributes:
        tokens: Where their `n` tokens stand in the packed row.
        texts: Their places in the packed order; `B` texts.
        width: `T`, tokens of the longest.
        lengths: `(B,)`, their tokens.
        source: `(B * T,)`, which of the `n` tokens stands at each place, the last one of a text in its padding; None
            if all have the same length.
        real: `(n,)`, the places of their tokens among the `B * T`.
    """

    tokens: slice
    texts: slice
    width: int
    lengths: Tensor
    source: Tensor | None
    real: Tensor

    def pad(self, row: Tensor) -> Tensor:
        """Return tokens `(N, heads, D)` of the packed row as `(B, heads, T, D)`."""
        tokens = row[self.tokens]
        if self.source is not None:
            tokens = tokens.index_select(0, self.source)
        return tokens.view(len(self.lengths), self.width, *tokens.shape[1:]).transpose(1, 2)

    def unpad(self, out: Tensor) -> Tensor:
        """Return `(B, T, heads, D)` as tokens `(n, heads, D)`."""
        tokens = out.flatten(0, 1)
        return tokens if self.source is None else tokens.index_select(0, self.real)

    def keys(self) -> Tensor | None:
        """Return which keys are tokens of the text, `(B, 1, 1, T)`; None if all are."""
        if self.source is None:
            return None
        places = torch.arange(self.width, device=self.lengths.device)
        return (places < self.lengths.unsqueeze(1))[:, None, None]

    def mask(self, pattern: Tensor | None, causal: bool) -> Tensor | None:
        """Return the mask of an attention over whole texts, True for what is attended to; None for no mask.

        Args:
            pattern: `(1, 1, T', T')`, what a text of at least `T` tokens attends to; None for everything, or for
                everything before it if `causal`.
            causal: Whether the padding behind a text is out of reach anyway.
        """
        keys = None if causal else self.keys()
        if pattern is None or keys is None:
            return keys if pattern is None else pattern[:, :, : self.width, : self.width]
        # A padding token attends to itself: a row without any key would be NaN, in the gradients of the others too.
        itself = torch.eye(self.width, dtype=torch.bool, device=pattern.device)
        return (pattern[:, :, : self.width, : self.width] & keys) | itself

    def mask_at(self, pattern: Tensor | None, positions: Tensor) -> Tensor | None:
        """Return the mask `(B, 1, 1, T)` of one query a text, at `positions` `(B,)` of the texts."""
        keys = self.keys()
        if pattern is None:
            return keys
        rows = pattern[0, 0, positions, : self.width][:, None, None]
        return rows if keys is None else rows & keys


@dataclass(frozen=True)
class Packing:
    """Where the real tokens of a padded batch stand in its packed row, longest text first.

    Attributes:
        shape: `(W, T)` of the batch.
        order: `(W,)`, the batch's texts in packed order.
        lengths: `(W,)`, their tokens, in packed order.
        starts: `(W,)`, the first token of each.
        index: `(N,)`, the places of the tokens among `W * T`; the last is repeated until the row has a round length.
        groups: The texts by length.
    """

    shape: tuple[int, int]
    order: Tensor
    lengths: Tensor
    starts: Tensor
    index: Tensor
    groups: list[Group]
    _masks: dict[tuple[int, int], tuple[Tensor | None, Tensor | None]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Tokens of the longest text."""
        return self.groups[0].width

    def pack(self, values: Tensor) -> Tensor:
        """Return `(W, T, …)` as `(1, N, …)`."""
        return values.flatten(0, 1).index_select(0, self.index).unsqueeze(0)

    def positions(self) -> Tensor:
        """Return each token's position in its text, `(1, N)`."""
        return (self.index % self.shape[1]).unsqueeze(0)

    def texts(self, row: Tensor) -> list[Tensor]:
        """Return the tokens `(n, H)` of each text from `(1, N, H)`, in the order of the batch."""
        parts = row[0, : int(self.lengths.sum())].split(self.lengths.tolist())  # type: ignore[no-untyped-call]
        return [parts[place] for place in self.order.argsort().tolist()]

    def mean(self, row: Tensor) -> Tensor:
        """Return the mean over each text's tokens, `(1, N, H) -> (W, H)`, in packed order."""
        texts = torch.arange(len(self.lengths), device=row.device).repeat_interleave(self.lengths)
        sums = torch.zeros(len(self.lengths), row.shape[-1], dtype=row.dtype, device=row.device)
        return sums.index_add(0, texts, row[0, : len(texts)]) / self.lengths.unsqueeze(1)

    def mask(self, place: int, pattern: Tensor | None, causal: bool, dtype: torch.dtype) -> Tensor | None:
        """Return `Group.mask` of the group at `place`, as what is added to the scores in `dtype`."""
        # Every layer asks with the same pattern. It is kept beside the mask, so that its id stays its own.
        key = (place, id(pattern))
        if key not in self._masks:
            mask = self.groups[place].mask(pattern, causal)
            if mask is not None:
                mask = torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf"))
            self._masks[key] = (pattern, mask)
        return self._masks[key][1]


def find_packing(mask: Tensor) -> Packing | None:
    """Return how to pack a batch with the mask `(W, T)`; None if it has little padding, or some in front of a text."""
    lengths, order = mask.sum(1).sort(descending=True, stable=True)
    sizes = lengths.tolist()
    total, width = sum(sizes), mask.shape[1]
    rounded = round_length(total)
    if total <= width or rounded > (1 - MIN_PADDING_SAVED) * mask.numel() or not sizes[-1]:
        return None
    if bool((mask[:, 1:] > mask[:, :-1]).any()):
        return None
    starts = lengths.cumsum(0) - lengths
    columns = torch.arange(width, device=mask.device)
    real = columns < lengths.unsqueeze(1)  # (W, T), in packed order
    index = (order.unsqueeze(1) * width + columns)[real]
    index = torch.cat([index, index[-1:].expand(rounded - total)])
    groups = [_group(first, stop, sizes, lengths) for first, stop in _group_bounds(sizes)]
    return Packing((len(sizes), width), order, lengths, starts, index, groups)


def round_length(tokens: int) -> int:
    """Return the length of a row for this many tokens."""
    step = max(LENGTH_MULTIPLE, (1 << tokens.bit_length()) // 16)
    return math.ceil(tokens / step) * step


def _group_bounds(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """Divide texts, longest first, into groups without much padding; yield where each starts and ends."""
    first = padding = 0
    for place, size in enumerate(sizes):
        padding += sizes[first] - size
        if padding > MAX_GROUP_PADDING:
            yield first, place
            first, padding = place, 0
    yield first, len(sizes)


def _group(first: int, stop: int, sizes: list[int], lengths: Tensor) -> Group:
    width, start = sizes[first], sum(sizes[:first])
    tokens = slice(start, start + sum(sizes[first:stop]))
    group_lengths = lengths[first:stop]
    columns = torch.arange(width, device=lengths.device)
    real = (columns < group_lengths.unsqueeze(1)).flatten().nonzero().squeeze(1)
    source = None
    if sizes[stop - 1] < width:
        starts = group_lengths.cumsum(0) - group_lengths
        source = (starts.unsqueeze(1) + torch.minimum(columns, group_lengths.unsqueeze(1) - 1)).flatten()
    return Group(tokens, slice(first, stop), width, group_lengths, source, real)
