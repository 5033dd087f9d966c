"""The batches of an epoch, from the seed and the epoch alone: a resumed run draws those it would have had."""

from collections.abc import Sequence

import torch

GROUPED_BATCHES = 50
"""Batches in a window within which texts of similar length are put together."""


def epoch_batches(
    lengths: Sequence[int], batch_size: int, seed: int, epoch: int, *, grouped: bool
) -> list[list[int]]:
    """Return the examples of each batch of an epoch.

    Args:
        lengths: Tokens of each example.
        batch_size: Examples in a batch; the last may have fewer.
        seed: Of the run.
        epoch: From 0.
        grouped: Put examples of similar length into a batch.
    """
    order = epoch_order(len(lengths), seed, epoch)
    if grouped:
        order = group_by_length(order, lengths, batch_size, seed + epoch)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def epoch_order(examples: int, seed: int, epoch: int) -> list[int]:
    """Return the shuffled order of the examples in an epoch (from 0)."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return list(torch.randperm(examples, generator=generator).tolist())


def group_by_length(order: list[int], lengths: Sequence[int], batch_size: int, seed: int) -> list[int]:
    """Sort an order by length within windows of some batches, and shuffle the batches of each window.

    The last batch, which may be smaller, stays the last.
    """
    random = torch.Generator().manual_seed(seed % 2**63)
    grouped: list[int] = []
    for start in range(0, len(order), GROUPED_BATCHES * batch_size):
        window = sorted(order[start : start + GROUPED_BATCHES * batch_size], key=lambda text: lengths[text])
        batches = [window[place : place + batch_size] for place in range(0, len(window), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size]
        for place in torch.randperm(len(full), generator=random).tolist():
            grouped += full[place]
        if len(full) < len(batches):
            grouped += batches[-1]
    return grouped
