"""Batches of token ids: padding, and filling them to a token budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

Encoded = tuple[list[int], ...]
"""The token ids of one text: one list a window, and one window unless the text is long."""


LEAST_SHARE = 0.8
"""A text shorter than this share of the longest begins a new batch, which pads less, ..."""
LEAST_FILL = 1 / 8
"""... unless the batch holds less than this share of the budget, which would cost more than padding."""
ROW_COST = 1.15
"""What a token costs that stands in a row with those of other texts: attention has to take them apart."""
BATCH_COST = 64
"""What a batch costs by itself, in tokens: the weights are read from memory."""
MAX_PADDED = 2
"""How many times its budget a batch may hold with its padding, where that is left out of the layers: the
embeddings and masks have it."""


@dataclass(frozen=True)
class Batch:
    """Padded windows of some texts.

    Attributes:
        input_ids: `(W, T)` int64; a row a window.
        attention_mask: `(W, T)` int64; 1 for a token of the text, 0 for padding.
        owner: `(W,)` int64, the text that each window belongs to.
        size: Number of texts.
        hidden: `(W, T, H)`, their features, zero in the padding; None to compute them.
    """

    input_ids: Tensor
    attention_mask: Tensor
    owner: Tensor
    size: int
    hidden: Tensor | None = None

    def with_hidden(self, hidden: Tensor) -> "Batch":
        """Return the batch with its features."""
        return replace(self, hidden=hidden)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return Batch(
            _move(self.input_ids, device),
            _move(self.attention_mask, device),
            _move(self.owner, device),
            self.size,
            None if self.hidden is None else _move(self.hidden, device),
        )


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(
        device, non_blocking=True
    )  # from pinned memory the copy need not be waited for


def collate(encoded: Sequence[Encoded], pad_id: int, padding_side: str = "right") -> Batch:
    """Pad the windows of some texts to the longest among them.

    Args:
        encoded: The texts' token ids.
        pad_id: Fills the rest; the mask says where, so it may also occur in a text.
        padding_side: `right`, or `left` to show that the side does not matter.
    """
    windows = [ids for text in encoded for ids in text]
    owners = [index for index, text in enumerate(encoded) for _ in text]
    width = max(map(len, windows))
    rows, masks = [], []
    for ids in windows:
        missing = width - len(ids)
        padding, real = [pad_id] * missing, [1] * len(ids)
        rows.append([*ids, *padding] if padding_side == "right" else [*padding, *ids])
        masks.append([*real, *[0] * missing] if padding_side == "right" else [*[0] * missing, *real])
    # By way of NumPy, which reads lists ten times as fast as PyTorch.
    input_ids, mask = (torch.from_numpy(np.array(values, dtype=np.int64)) for values in (rows, masks))
    return Batch(input_ids, mask, torch.tensor(owners), len(encoded))


def token_budget_batches(lengths: Sequence[int], max_tokens: int, *, packed: bool = False) -> list[list[int]]:
    """Group items of like length into batches of at most `max_tokens` tokens.

    Args:
        lengths: Tokens of each item.
        max_tokens: Budget of a batch, padding included; an item longer than that has a batch of its own.
        packed: Whether the model packs batches. Then, where it pays, as with short lists, items of any length share a
            batch; the budget is of real tokens, and with padding a batch holds at most `MAX_PADDED` times it.

    Returns:
        The indices of each batch, longest items first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    alike: list[list[int]] = []
    for index in order:
        if alike and _joins(alike[-1], lengths, index, max_tokens):
            alike[-1].append(index)
        else:
            alike.append([index])
    if not packed:
        return alike
    mixed = _of_any_length(order, lengths, max_tokens)
    padded = sum(len(batch) * lengths[batch[0]] for batch in alike)
    cheaper = sum(lengths) * ROW_COST + len(mixed) * BATCH_COST < padded + len(alike) * BATCH_COST
    return mixed if cheaper else alike


def _of_any_length(order: Sequence[int], lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = []
    real = 0
    for index in order:
        real += lengths[index]
        spread = (len(batches[-1]) + 1) * lengths[batches[-1][0]] if batches else 0
        if batches and real <= max_tokens and spread <= MAX_PADDED * max_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            real = lengths[index]
    return batches


def _joins(batch: list[int], lengths: Sequence[int], index: int, max_tokens: int) -> bool:
    longest = lengths[batch[0]]
    if (len(batch) + 1) * longest > max_tokens:
        return False
    return lengths[index] >= LEAST_SHARE * longest or len(batch) * longest < LEAST_FILL * max_tokens
