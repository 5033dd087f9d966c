"""Stratification: quotas by class, and groups of equal texts that stay together."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from finetext.data.dataset import Dataset

Key = TypeVar("Key", str, tuple[str, str])


def positions(values: Iterable[Key]) -> dict[Key, list[int]]:
    """Return where each value stands, values in ascending order."""
    places: dict[Key, list[int]] = {}
    for place, value in enumerate(values):
        places.setdefault(value, []).append(place)
    return dict(sorted(places.items()))


def strata_of_splits(dataset: Dataset) -> dict[tuple[str, str], list[int]]:
    """Return the examples of each class in each of the source's own splits (`train` if it has none)."""
    splits: Sequence[str] = dataset.given_splits or ["train"] * len(dataset)
    return positions(zip(splits, dataset.strata, strict=True))


def group_texts(dataset: Dataset, indices: Sequence[int] | None = None) -> dict[str, list[list[int]]]:
    """Group examples whose folded texts are equal; a group's class is its most frequent one.

    Returns:
        The groups of each class, classes in alphabetical order, groups in that of their first examples.
    """
    groups: dict[str, list[int]] = {}
    for index in range(len(dataset)) if indices is None else indices:
        groups.setdefault(dataset.keys[index], []).append(index)
    strata: dict[str, list[list[int]]] = {}
    for group in groups.values():
        stratum = dataset.strata[group[0]]
        if len(group) > 1:
            stratum = Counter(dataset.strata[index] for index in group).most_common(1)[0][0]
        strata.setdefault(stratum, []).append(group)
    return dict(sorted(strata.items()))


def assign_folds(dataset: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Divide examples into folds, stratified by class; equal texts (folded) share one.

    Args:
        dataset: The examples.
        count: How many folds.
        seed: The same seed gives the same folds.

    Returns:
        `(N,)`, the fold of each example.
    """
    random = np.random.default_rng([seed, 2])
    folds = np.zeros(len(dataset), dtype=np.int64)
    dealt = 0  # on from class to class, so that rare classes do not all fill the first folds
    for groups in group_texts(dataset).values():
        for place in random.permutation(len(groups)):
            folds[groups[place]] = dealt % count
            dealt += 1
    return folds


def allocate(total: int, sizes: Sequence[int], lower: Sequence[int], upper: Sequence[int]) -> list[int]:
    """Allocate `total` in proportion to `sizes` within bounds, by the largest-remainder method.

    Args:
        total: How many to allocate.
        sizes: The size of each class.
        lower: The least that each class gets, whatever the total.
        upper: The most that each class can get.

    Returns:
        One number for each class. They sum to `total` unless the bounds forbid it.
    """
    whole = max(sum(sizes), 1)
    ideal = np.asarray([total * size / whole for size in sizes])
    low, high = np.asarray(lower, dtype=np.int64), np.asarray(upper, dtype=np.int64)
    quotas = np.clip(np.floor(ideal + 1e-9).astype(np.int64), low, np.maximum(low, high))
    while (missing := total - int(quotas.sum())) != 0:
        step = 1 if missing > 0 else -1
        can = quotas < high if step > 0 else quotas > low
        if not can.any():
            break
        wish = np.where(can, step * (ideal - quotas), -np.inf)
        chosen = np.argsort(-wish, kind="stable")[: min(abs(missing), int(can.sum()))]
        quotas[chosen] += step
    return [int(number) for number in quotas]


def assign_groups(sizes: Sequence[int], quotas: Sequence[int], random: np.random.Generator) -> list[int]:
    """Assign the groups of one class to parts, so that the parts' sizes come near their quotas.

    Groups of several texts are placed first, at random among the parts that still have room for them;
    single texts then fill the parts up. Each part gets a group as long as there are enough.

    Returns:
        The part of each group.
    """
    parts = np.zeros(len(sizes), dtype=np.int64)
    room = np.asarray(quotas, dtype=np.int64).copy()
    order = random.permutation(len(sizes))
    order = order[np.argsort(-np.asarray(sizes, dtype=np.int64)[order], kind="stable")]
    large = [int(group) for group in order if sizes[group] > 1]
    for group in large:
        fits = np.where(room >= sizes[group], room, 0)
        part = random.choice(room.size, p=fits / fits.sum()) if fits.any() else int(room.argmax())
        parts[group] = part
        room[part] -= sizes[group]
    single = order[len(large) :]
    room = np.maximum(room, 0)
    for _ in range(int(room.sum()) - single.size):
        room[room.argmax()] -= 1
    parts[single] = np.repeat(np.arange(room.size), room)
    _fill_empty_parts(parts, sizes, quotas)
    return [int(part) for part in parts]


def _fill_empty_parts(parts: np.ndarray, sizes: Sequence[int], quotas: Sequence[int]) -> None:
    """Give a part that should have a group and got none the smallest group of the part with the most."""
    for part in range(len(quotas)):
        counts = np.bincount(parts, minlength=len(quotas))
        if quotas[part] and not counts[part] and counts.max() > 1:
            richest = np.flatnonzero(parts == counts.argmax())
            parts[min(richest.tolist(), key=lambda group: sizes[group])] = part
