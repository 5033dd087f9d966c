"""Class imbalance: undersampling, oversampling, or class weights in the loss."""

from typing import Literal

import numpy as np

from finetext.data.config import DataConfig
from finetext.data.dataset import Dataset
from finetext.data.stratify import strata_of_splits
from finetext.errors import DataError, UsageError, closest
from finetext.options import check_options


def balance(train: Dataset, config: DataConfig, seed: int) -> Dataset:
    """Return the training split, undersampled or oversampled if the options say so.

    Args:
        train: The training split.
        config: `balance` and `balance_scope`; a dataset undersampled as a whole is not changed again.
        seed: The same seed gives the same examples.

    Raises:
        UsageError: The task is multi-label, where examples cannot be counted by class.
    """
    if config.balance == "undersample" and config.balance_scope == "train":
        return undersample(train, seed)
    return _resample(train, "oversample", seed) if config.balance == "oversample" else train


def undersample(dataset: Dataset, seed: int) -> Dataset:
    """Drop examples at random until each class is as small as the smallest, within each split."""
    return _resample(dataset, "undersample", seed)


def _resample(dataset: Dataset, how: Literal["undersample", "oversample"], seed: int) -> Dataset:
    """Bring the classes of each split to one size: each example equally often, then a random rest."""
    if dataset.task == "multi-label":
        raise UsageError(
            f"--balance {how} is not for multi-label data, where a text has several labels; "
            "try --balance weights."
        )
    random = np.random.default_rng([seed, 2 if how == "undersample" else 3])
    strata = strata_of_splits(dataset)
    chosen: list[int] = []
    for (split, _), members in strata.items():
        sizes = [len(other) for (name, _), other in strata.items() if name == split]
        rounds, rest = divmod(min(sizes) if how == "undersample" else max(sizes), len(members))
        chosen += members * rounds + random.permutation(members)[:rest].tolist()
    return dataset.subset(sorted(chosen))


def class_weights(train: Dataset, config: DataConfig) -> list[float] | None:
    """Return the weight of each class in the loss, in class id order, or None without `balance = weights`.

    With `class_weights` set, a class that is not among them has weight 1. Otherwise they are inverse frequencies,
    `examples / (classes * examples of the class)`, like scikit-learn's "balanced".

    Raises:
        UsageError: A weight is for an unknown class, is not positive, or `balance` is not `weights`.
        DataError: The training split has no example of a class.
    """
    check_options(config)
    for name in config.class_weights:
        if name not in train.class_names:
            raise UsageError(
                f"--class-weights.{name}: no such class; the classes are "
                f"{', '.join(map(repr, train.class_names))}.{closest(name, train.class_names)}"
            )
    if config.balance != "weights":
        return None
    if config.class_weights:
        return [float(config.class_weights.get(name, 1.0)) for name in train.class_names]
    counts = train.count_labels()
    missing = [name for name, count in counts.items() if not count]
    if missing and train.task != "multi-label":
        raise DataError(f"{train.source.name}: no training example of {', '.join(map(repr, missing))}.")
    return [len(train) / (len(counts) * count) if count else 1.0 for count in counts.values()]
