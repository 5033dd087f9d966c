"""Splitting a dataset into train, validation and test so that equal texts share a split."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from finetext.data.balancing import undersample
from finetext.data.config import DataConfig, SplitName
from finetext.data.dataset import Dataset
from finetext.data.stratify import allocate, assign_groups, group_texts, positions, strata_of_splits
from finetext.errors import DataError, UsageError
from finetext.files import writing
from finetext.options import check_options

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The three parts of a dataset."""

    train: Dataset
    validation: Dataset
    test: Dataset
    notes: tuple[str, ...] = ()
    """What was changed in the splits of the source, one line each."""

    def write(self, folder: Path) -> None:
        """Write `train.csv`, `validation.csv` and `test.csv` with the columns text, label and row."""
        schema = {"text": pl.String, "label": pl.String, "row": pl.Int64}
        for name in SPLITS:
            dataset: Dataset = getattr(self, name)
            labels = ["|".join(names) for names in dataset.labels]
            frame = pl.DataFrame({"text": dataset.texts, "label": labels, "row": dataset.rows}, schema)
            with writing(folder / f"{name}.csv") as file:
                frame.write_csv(file, quote_style="non_numeric")


def splits_to_make(present: Sequence[SplitName] | None) -> list[SplitName]:
    """Return the splits to split off, which the source does not bring."""
    return [name for name in SPLITS if name != "train" and (present is None or name not in present)]


def split(dataset: Dataset, config: DataConfig, seed: int) -> Splits:
    """Split a dataset, stratified by class; splits that the source defines stay as they are.

    Equal texts (folded) go into the same split. Where the source defines splits, texts that also occur in a later one
    (test after validation after train) are removed from the earlier, which the notes say. `limit` and undersampling of
    the whole dataset come first.

    Args:
        dataset: What `read` returned.
        config: Shares, limit and balance.
        seed: The same seed gives the same splits.

    Raises:
        DataError: A class is too small, or only in the test split.
        UsageError: An option is out of range, or the limit too small.
    """
    check_options(config)
    if config.limit is not None:
        dataset = limit(dataset, config.limit, seed)
    if config.balance == "undersample" and config.balance_scope == "all":
        dataset = undersample(dataset, seed)
    by_split = positions(dataset.given_splits or ["train"] * len(dataset))
    members = {name: by_split.get(name, []) for name in SPLITS}
    notes = _remove_overlap(dataset, members)
    for name in SPLITS:
        if dataset.given_splits is not None and name in dataset.given_splits and not members[name]:
            raise DataError(
                f"{dataset.source.name}: no {name} example is left: all of its texts occur in a later split."
            )
    make = splits_to_make(dataset.given_splits)
    if make:
        shares = {name: getattr(config, name) for name in make}
        members |= _split_off(dataset, members["train"], shares, seed)
    _refuse_unlearnable(dataset, members)
    parts = {name: dataset.subset(members[name]) for name in SPLITS}
    return Splits(parts["train"], parts["validation"], parts["test"], tuple(notes))


def hold_out_validation(dataset: Dataset, share: float, seed: int) -> Splits:
    """Split a dataset into train and validation alone, stratified by class, equal texts together.

    Args:
        dataset: All examples; splits of its own do not count.
        share: That of validation.
        seed: The same seed gives the same splits.

    Raises:
        DataError: There are too few examples.
    """
    parts = _split_off(dataset, range(len(dataset)), {"validation": share}, seed)
    _refuse_unlearnable(dataset, parts)
    return Splits(dataset.subset(parts["train"]), dataset.subset(parts["validation"]), dataset.subset([]))


def _remove_overlap(dataset: Dataset, members: dict[SplitName, list[int]]) -> list[str]:
    """Remove from each split the texts that a later one holds; return a line for each pair."""
    notes = []
    keys = dataset.keys
    for later, earlier in itertools.combinations(reversed(SPLITS), 2):
        held = {keys[index] for index in members[later]}
        kept = [index for index in members[earlier] if keys[index] not in held]
        removed = len(members[earlier]) - len(kept)
        if removed:
            what = "text" if removed == 1 else "texts"
            notes.append(f"{removed:,} {earlier} {what} removed that also stand in {later}")
            members[earlier] = kept
    return notes


def _split_off(
    dataset: Dataset, indices: Sequence[int], shares: dict[SplitName, float], seed: int
) -> dict[SplitName, list[int]]:
    """Split `indices` into the splits named in `shares` and the rest, `train`."""
    random = np.random.default_rng([seed, 1])
    strata = group_texts(dataset, indices).values()
    names: list[SplitName] = ["train", *shares]
    sizes = [sum(map(len, groups)) for groups in strata]
    quotas = _quotas(sizes, list(map(len, strata)), list(shares.values()))
    parts: dict[SplitName, list[int]] = {name: [] for name in names}
    for groups, quota in zip(strata, quotas, strict=True):
        assigned = assign_groups(list(map(len, groups)), quota, random)
        for group, part in zip(groups, assigned, strict=True):
            parts[names[part]].extend(group)
    return {name: sorted(members) for name, members in parts.items()}


def _quotas(sizes: Sequence[int], distinct: Sequence[int], shares: Sequence[float]) -> list[list[int]]:
    """Return for each class how many examples go to train and to each split made.

    A class with enough distinct texts has at least one example in each split.
    """
    total = sum(sizes)
    needed = len(shares) + 1
    least = [int(number >= needed) for number in distinct]
    rest = list(sizes)
    made = []
    for position, share in enumerate(shares):
        reserved = len(shares) - position  # one for train and for each split still to be made
        most = [max(left - reserved, lower) for left, lower in zip(rest, least, strict=True)]
        quota = allocate(max(round(total * share), 1), sizes, least, most)
        made.append(quota)
        rest = [left - taken for left, taken in zip(rest, quota, strict=True)]
    return [list(quota) for quota in zip(rest, *made, strict=True)]


def _refuse_unlearnable(dataset: Dataset, members: dict[SplitName, list[int]]) -> None:
    for name, indices in members.items():
        if not indices:
            raise DataError(f"{dataset.source.name}: too few examples, none is left for the {name} split.")
    if dataset.task == "multi-label":
        return
    known = {dataset.labels[index] for index in members["train"]}
    every = (index for indices in members.values() for index in indices)
    missing = {dataset.labels[i][0] for i in every if dataset.labels[i] not in known}
    if missing:
        raise DataError(
            f"{dataset.source.name}: no training example is left of {', '.join(map(repr, sorted(missing)))}. "
            "Add examples, or drop the class."
        )


def limit(dataset: Dataset, limit: float, seed: int) -> Dataset:
    """Return a subset stratified by class, and by the source's own splits where it has them.

    Args:
        dataset: What `read` returned.
        limit: How many examples; below 1 it is a share.
        seed: The same seed gives the same subset.

    Raises:
        UsageError: The limit is not a positive whole number or share, or too small for the classes.
    """
    if not limit > 0 or (limit >= 1 and limit != int(limit)):
        raise UsageError(
            f"--limit {limit:g}: must be a whole number of examples, or a share between 0 and 1."
        )
    wanted = int(limit) if limit >= 1 else max(round(limit * len(dataset)), 1)
    if wanted >= len(dataset):
        return dataset
    strata = strata_of_splits(dataset)
    sizes = [len(members) for members in strata.values()]
    needed = 1 + len(splits_to_make(dataset.given_splits))
    least = [min(needed if name == "train" else 1, len(members)) for (name, _), members in strata.items()]
    if sum(least) > wanted:
        raise UsageError(
            f"--limit {limit:g}: too few examples for {len(dataset.class_names)} classes; "
            f"it must be at least {sum(least)}."
        )
    random = np.random.default_rng([seed, 0])
    chosen: list[int] = []
    quotas = allocate(wanted, sizes, least, sizes)
    for members, quota in zip(strata.values(), quotas, strict=True):
        chosen += _different_first(dataset, random.permutation(members).tolist(), needed)[:quota]
    return dataset.subset(sorted(chosen))


def _different_first(dataset: Dataset, members: list[int], needed: int) -> list[int]:
    """Move up to `needed` examples with different texts to the front, so that the class can be split."""
    first: dict[str, int] = {}
    for index in members:
        first.setdefault(dataset.keys[index], index)
        if len(first) == needed:
            break
    return list(dict.fromkeys([*first.values(), *members]))
