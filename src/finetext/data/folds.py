"""Folds for cross-validation: stratified by class, equal texts together."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finetext.data.config import DataConfig, SplitName
from finetext.data.splits import Splits, split
from finetext.data.stratify import assign_groups, group_texts
from finetext.data.table import Dataset


def assign_folds(dataset: Dataset, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each example, `(N,)`.

    Equal texts (folded) stand in the same fold. A class that has only one text is in none, -1: held out, it could
    not be learnt.

    Args:
        dataset: All examples.
        folds: How many.
        seed: The same seed gives the same folds.
    """
    random = np.random.default_rng([seed, 3])
    found = np.full(len(dataset), -1, dtype=np.int64)
    groups = group_texts(dataset)
    for number, members in enumerate(groups.by_stratum().values()):
        if len(members) < 2:
            continue
        sizes = [len(groups.members[group]) for group in members]
        share, rest = divmod(sum(sizes), folds)
        # The larger quotas start at another fold in each class, so that many small classes do not fill the first.
        quotas = [share + int((fold - number) % folds < rest) for fold in range(folds)]
        for group, fold in zip(members, assign_groups(sizes, quotas, random), strict=True):
            found[groups.members[group]] = fold
    return found


def fold_splits(dataset: Dataset, held_out: NDArray[np.bool_], config: DataConfig, seed: int) -> Splits:
    """Return splits of which the test split is one fold, and the validation split is taken from the rest.

    Args:
        dataset: All examples.
        held_out: `(N,)`, which of them are tested.
        config: Its share of validation.
        seed: Of the validation split.
    """
    given: list[SplitName] = ["test" if own else "train" for own in held_out]
    config = dataclasses.replace(config, limit=None, balance_scope="train")
    return split(dataclasses.replace(dataset, given_splits=given), config, seed)


def join(parts: Sequence[Dataset]) -> Dataset:
    """Return the examples of several splits of one dataset as one, without splits of its own."""
    return dataclasses.replace(
        parts[0],
        texts=[text for part in parts for text in part.texts],
        labels=[labels for part in parts for labels in part.labels],
        rows=[row for part in parts for row in part.rows],
        given_splits=None,
    )
