"""What is wrong, or worth knowing, about labelled texts before any training."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from finetext.data.dataset import Dataset
from finetext.data.splits import splits_to_make
from finetext.data.stratify import group_texts
from finetext.errors import DataError

Severity = Literal["ok", "info", "warning", "error"]
FIRST_ROWS = 5


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    count: int
    """How many texts it concerns; 0 if all is well."""
    first_rows: tuple[int | str, ...] = ()
    """The first rows that it concerns; `file:row` where there are several files."""
    detail: str = ""
    severity: Severity = "ok"
    """`error` means that training makes no sense."""

    @property
    def line(self) -> str:
        """What, how many, where first, what it means."""
        rows = ", ".join(map(str, self.first_rows))
        more = ", …" if self.count > len(self.first_rows) else ""
        return f"{self.name}: {self.count:,} (rows {rows}{more}). {self.detail}"


@dataclass(frozen=True)
class Findings:
    """What the checks found, with the figures of the dataset."""

    items: tuple[Finding, ...] = ()
    examples: int = 0
    classes: tuple[tuple[str, int], ...] = ()
    """How many examples each class has, in id order."""
    splits: tuple[tuple[str, int], ...] = ()
    """How many examples each of the source's own splits has; empty without own splits."""
    characters: tuple[tuple[str, float], ...] = ()
    """Length of the texts in characters: min, median, mean, p95, max."""

    def __getitem__(self, name: str) -> Finding:
        for item in self.items:
            if item.name == name:
                return item
        raise KeyError(name)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings with which training makes no sense."""
        return tuple(item for item in self.items if item.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that the user should know of."""
        return tuple(item for item in self.items if item.severity == "warning")

    def with_finding(self, finding: Finding) -> "Findings":
        """Return the same findings and one more."""
        return replace(self, items=(*self.items, finding))

    def refuse_errors(self, name: str) -> None:
        """Report all fatal findings together.

        Raises:
            DataError: There is at least one.
        """
        if self.errors:
            raise DataError(f"{name}: " + " ".join(finding.detail for finding in self.errors))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe values."""
        return {
            "examples": self.examples,
            "classes": dict(self.classes),
            "own_splits": dict(self.splits),
            "characters": dict(self.characters),
            "findings": [asdict(item) | {"first_rows": list(item.first_rows)} for item in self.items],
        }


Places = Callable[[int], int | str]
"""Names the row of an example for a message."""


def finding(
    name: str, indices: Sequence[int] | np.ndarray, places: Places, detail: str, severity: Severity
) -> Finding:
    """Make a finding about the examples at `indices`; with none of them all is well."""
    if not len(indices):
        return Finding(name, 0)
    first = tuple(places(int(index)) for index in indices[:FIRST_ROWS])
    return Finding(name, len(indices), first, detail, severity)


def check(dataset: Dataset, missing: Sequence[Finding], places: Places) -> Findings:
    """Run all checks on the usable examples.

    Args:
        dataset: The examples with text and label.
        missing: What was found while examples without text or label were dropped.
        places: Names the row of an example.
    """
    items = [*missing, _check_classes(dataset)]
    if items[-1].severity == "ok":
        items.append(_check_class_sizes(dataset))
    items += _check_repeats(dataset, places)
    items.append(_check_conflicts(dataset, places))
    items += _check_own_splits(dataset, places)
    return Findings(
        tuple(items),
        len(dataset),
        tuple(dataset.count_labels().items()),
        tuple(sorted(Counter(dataset.given_splits or ()).items())),
        _measure(dataset.texts),
    )


def _measure(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    if not texts:
        return ()
    lengths = pl.Series(texts, dtype=pl.String).str.len_chars().to_numpy()
    figures = {
        "min": lengths.min(),
        "median": np.median(lengths),
        "mean": lengths.mean().round(1),
        "p95": np.percentile(lengths, 95).round(1),
        "max": lengths.max(),
    }
    return tuple((name, float(figure)) for name, figure in figures.items())


def _check_classes(dataset: Dataset) -> Finding:
    names = dataset.class_names
    if not len(dataset):
        return Finding("one-class", 1, (), "No example has both a text and a label.", "error")
    if dataset.task == "multi-label":
        if names:
            return Finding("one-class", 0)
        return Finding("one-class", len(dataset), (), "No text has a label.", "error")
    if len(names) > 1:
        return Finding("one-class", 0)
    detail = f"Only one class, {names[0]!r}; at least two are needed to tell texts apart."
    return Finding("one-class", len(dataset), (), detail, "error")


def _check_class_sizes(dataset: Dataset) -> Finding:
    """Find classes with fewer different texts than splits that have to be made."""
    given = dataset.given_splits
    needed = 1 + len(splits_to_make(given))
    indices = list(range(len(dataset)))
    if given is not None:
        held = {key for key, name in zip(dataset.keys, given, strict=True) if name != "train"}
        indices = [i for i in indices if given[i] == "train" and dataset.keys[i] not in held]
    if dataset.task == "multi-label":
        texts: dict[str, set[str]] = {name: set() for name in dataset.class_names}
        for index in indices:
            for name in dataset.labels[index]:
                texts[name].add(dataset.keys[index])
        distinct = {name: len(keys) for name, keys in texts.items()}
    else:
        counts = Counter(group_texts(dataset, indices).strata)
        distinct = {name: counts[name] for name in dataset.class_names}
    small = {name: number for name, number in distinct.items() if number < needed}
    if dataset.task != "multi-label" and given is not None:  # reported as class without training examples
        small = {name: number for name, number in small.items() if number}
    if not small:
        return Finding("small-classes", 0)
    listed = _list(f"{name!r} ({number})" for name, number in small.items())
    detail = (
        f"Too few different texts to be in {needed} {'splits' if needed > 1 else 'split'}: {listed}; "
        f"each class needs at least {needed}. Add examples, or merge classes with --label-map."
    )
    severity: Severity = "warning" if dataset.task == "multi-label" else "error"
    return Finding("small-classes", len(small), (), detail, severity)


def _list(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _check_repeats(dataset: Dataset, places: Places) -> list[Finding]:
    frame = pl.DataFrame(
        {"text": dataset.texts, "key": dataset.keys}, schema={"text": pl.String, "key": pl.String}
    )
    first_text = frame["text"].is_first_distinct().to_numpy()
    first_key = frame["key"].is_first_distinct().to_numpy()
    exact, near = np.flatnonzero(~first_text), np.flatnonzero(first_text & ~first_key)
    together = "Equal texts are kept in one split."
    return [
        finding("exact-duplicates", exact, places, f"The same text as an earlier one. {together}", "warning"),
        finding(
            "near-duplicates",
            near,
            places,
            f"The same as an earlier one but for case and white space. {together}",
            "warning",
        ),
    ]


def _check_conflicts(dataset: Dataset, places: Places) -> Finding:
    labels = ["|".join(sorted(names)) for names in dataset.labels]
    frame = pl.DataFrame(
        {"key": dataset.keys, "label": labels}, schema={"key": pl.String, "label": pl.String}
    )
    conflicting = frame.select((pl.col("label").n_unique().over("key") > 1).alias("conflict"))
    indices = np.flatnonzero(conflicting["conflict"].to_numpy())
    return finding("conflicting-labels", indices, places, "The same text under different labels.", "warning")


def _check_own_splits(dataset: Dataset, places: Places) -> list[Finding]:
    given = dataset.given_splits
    if given is None:
        return []
    order = {"train": 0, "validation": 1, "test": 2}
    latest: dict[str, int] = {}
    for key, name in zip(dataset.keys, given, strict=True):
        latest[key] = max(latest.get(key, 0), order[name])
    straddling = [
        index
        for index, (key, name) in enumerate(zip(dataset.keys, given, strict=True))
        if order[name] < latest[key]
    ]
    detail = "Also in a later split (test after validation after train); removed from the earlier when split."
    return [
        finding("split-overlap", straddling, places, detail, "warning"),
        _check_untrained(dataset, given, places),
    ]


def _check_untrained(dataset: Dataset, given: Sequence[str], places: Places) -> Finding:
    """Find labels that occur in the user's own validation or test split but not in the training one."""
    pairs = list(zip(given, dataset.labels, strict=True))
    known = {name for split, names in pairs if split == "train" for name in names}
    indices = [i for i, (_, names) in enumerate(pairs) if not known.issuperset(names)]
    unknown = sorted({name for _, names in pairs for name in names} - known)
    severity: Severity = "warning" if dataset.task == "multi-label" else "error"
    rows = ", ".join(str(places(index)) for index in indices[:FIRST_ROWS])
    detail = (
        f"Labels that no training example has: {_list(map(repr, unknown))} (rows {rows}). "
        "Add training examples, or rename them with --label-map."
    )
    return finding("untrained-labels", indices, places, detail, severity)


def check_lengths(
    texts: Sequence[str],
    token_counts: Sequence[int],
    limit: int,
    rows: Sequence[int | str] | None = None,
    *,
    windows: bool = False,
) -> Finding:
    """Count the texts over a model's limit and the tokens that truncation loses.

    Args:
        texts: The texts.
        token_counts: Length of each text in tokens, special tokens included, not truncated.
        limit: The most tokens that the model reads.
        rows: The row of each text, for the message.
        windows: Whether longer texts are read in windows, so that nothing is lost.
    """
    counts = np.asarray(token_counts, dtype=np.int64)
    if counts.size != len(texts):
        raise ValueError(f"{counts.size} token counts for {len(texts)} texts")
    over = np.flatnonzero(counts > limit)
    lost = int((counts[over] - limit).sum())
    share = lost / max(int(counts.sum()), 1)
    detail = f"Longer than {limit:,} tokens: {lost:,} tokens ({share:.1%} of all) are lost by truncation."
    if windows:
        detail = f"Longer than {limit:,} tokens: read whole, in overlapping windows."
    return finding("long-texts", over, lambda index: rows[index] if rows else index + 1, detail, "warning")
