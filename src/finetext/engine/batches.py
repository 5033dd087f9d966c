"""Batches of token ids: padding, and filling them to a token budget."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Encoded = tuple[list[int], ...]
"""The token ids of one text: one list a window, and one window unless the text is long."""


LEAST_SHARE = 0.8
"""A text shorter than this share of the longest begins a new batch, which pads less, ..."""
LEAST_FILL = 1 / 8
"""... unless the batch holds less than this share of the budget, which would cost more than padding."""
MOST_SPREAD = 4
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
        hidden: `(W, T, H)`, what the trunk gives for them, zero in the padding; None to let it compute that.
    """

    input_ids: Tensor
    attention_mask: Tensor
    owner: Tensor
    size: int
    hidden: Tensor | None = None

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
    input_ids, mask = (torch.from_numpy(np.array(own, dtype=np.int64)) for own in (rows, masks))
    return Batch(input_ids, mask, torch.tensor(owners), len(encoded))


def token_budget_batches(
    lengths: Sequence[int], max_tokens: int, *, unpadded: bool = False
) -> list[list[int]]:
    """Group items of like length into batches of at most `max_tokens` tokens.

    Args:
        lengths: Tokens of each item.
        max_tokens: Budget of a batch, padding included; an item longer than that has a batch of its own.
        unpadded: Count no padding, since it costs the layers nothing; with it a batch holds at most `MOST_SPREAD`
            times the budget.

    Returns:
        The indices of each batch, longest items first, so that a lack of memory shows at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    real = 0
    for index in order:
        real += lengths[index]
        if batches and _joins(batches[-1], lengths, index, max_tokens, real if unpadded else None):
            batches[-1].append(index)
        else:
            batches.append([index])
            real = lengths[index]
    return batches


def _joins(batch: list[int], lengths: Sequence[int], index: int, max_tokens: int, real: int | None) -> bool:
    longest = lengths[batch[0]]
    padded = (len(batch) + 1) * longest
    if real is not None:
        return real <= max_tokens and padded <= MOST_SPREAD * max_tokens
    if padded > max_tokens:
        return False
    return lengths[index] >= LEAST_SHARE * longest or len(batch) * longest < LEAST_FILL * max_tokens
