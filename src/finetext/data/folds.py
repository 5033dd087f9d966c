"""Folds for cross-validation: stratified by class, equal texts together."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from finetext.data.config import DataConfig, SplitName
from finetext.data.dataset import Dataset
from finetext.data.splits import Splits, split
from finetext.data.stratify import assign_folds, group_texts


def held_out_folds(dataset: Dataset, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold in which each example is held out, `(N,)`.

    A class that has only one text is held out in none (-1): it could not be learnt from the others.

    Args:
        dataset: All examples.
        folds: How many.
        seed: The same seed gives the same folds.
    """
    folds_of = assign_folds(dataset, folds, seed)
    for groups in group_texts(dataset).values():
        if len(groups) == 1:
            folds_of[groups[0]] = -1
    return folds_of


def fold_splits(dataset: Dataset, held_out: NDArray[np.bool_], config: DataConfig, seed: int) -> Splits:
    """Return splits with one fold as the test split, and validation taken from the rest.

    Args:
        dataset: All examples.
        held_out: `(N,)`, which of them are tested.
        config: Its share of validation.
        seed: Of the validation split.
    """
    names: list[SplitName] = ["test" if is_held_out else "train" for is_held_out in held_out]
    config = dataclasses.replace(config, limit=None, balance_scope="train")
    return split(dataclasses.replace(dataset, given_splits=names), config, seed)


def join(parts: Sequence[Dataset]) -> Dataset:
    """Return the examples of several splits of one dataset as one dataset without splits."""
    return dataclasses.replace(
        parts[0],
        texts=[text for part in parts for text in part.texts],
        labels=[labels for part in parts for labels in part.labels],
        rows=[row for part in parts for row in part.rows],
        given_splits=None,
    )
