"""Checks of labelled texts before training."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from finetext.data.dataset import Dataset
from finetext.data.findings import FIRST_ROWS, Finding, Findings, Places, Severity, finding
from finetext.data.splits import SPLITS, splits_to_make
from finetext.data.stratify import group_texts


def check(dataset: Dataset, missing: Sequence[Finding], places: Places) -> Findings:
    """Run all checks on the usable examples.

    Args:
        dataset: The examples with text and label.
        missing: Findings about the examples without text or label, which are dropped.
        places: The row of each example.
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
        _length_statistics(dataset.texts),
    )


def _length_statistics(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    if not texts:
        return ()
    lengths = pl.Series(texts, dtype=pl.String).str.len_chars().to_numpy()
    mean, p95 = lengths.mean().round(1), np.percentile(lengths, 95).round(1)
    statistics = (lengths.min(), np.median(lengths), mean, p95, lengths.max())
    return tuple(zip(("min", "median", "mean", "p95", "max"), map(float, statistics), strict=True))


def _check_classes(dataset: Dataset) -> Finding:
    names = dataset.class_names
    if len(names) > 1 or (names and dataset.task == "multi-label"):
        return Finding("one-class", 0)
    if not len(dataset):
        detail = "No example has both a text and a label."
    elif not names:
        detail = "No text has a label."
    else:
        detail = f"Only one class, {names[0]!r}; at least two are needed to tell texts apart."
    return Finding("one-class", max(1, len(dataset)), (), detail, "error")


def _check_class_sizes(dataset: Dataset) -> Finding:
    """Find classes with fewer distinct texts than splits to make."""
    splits = dataset.given_splits
    needed = 1 + len(splits_to_make(splits))
    indices = list(range(len(dataset)))
    if splits is not None:
        held = {key for key, name in zip(dataset.keys, splits, strict=True) if name != "train"}
        indices = [i for i in indices if splits[i] == "train" and dataset.keys[i] not in held]
    multi = dataset.task == "multi-label"
    if multi:
        pairs = {(dataset.keys[index], name) for index in indices for name in dataset.labels[index]}
        distinct = Counter(name for _, name in pairs)
    else:
        distinct = Counter({name: len(groups) for name, groups in group_texts(dataset, indices).items()})
    small = {name: distinct[name] for name in dataset.class_names if distinct[name] < needed}
    if not multi and splits is not None:  # a class without training examples is reported by another check
        small = {name: number for name, number in small.items() if number}
    if not small:
        return Finding("small-classes", 0)
    listed = _list(f"{name!r} ({number})" for name, number in small.items())
    detail = (
        f"Too few distinct texts to be in {needed} {'splits' if needed > 1 else 'split'}: {listed}; "
        f"each class needs at least {needed}. Add examples, or merge classes with --label-map."
    )
    return Finding("small-classes", len(small), (), detail, "warning" if multi else "error")


def _list(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _check_repeats(dataset: Dataset, places: Places) -> list[Finding]:
    first_text = pl.Series(dataset.texts, dtype=pl.String).is_first_distinct()
    first_key = pl.Series(dataset.keys, dtype=pl.String).is_first_distinct()
    exact, near = (~first_text).arg_true().to_numpy(), (first_text & ~first_key).arg_true().to_numpy()
    together = "Equal texts are kept in one split."
    same = f"The same text as an earlier one. {together}"
    alike = f"The same as an earlier one but for case and white space. {together}"
    return [
        finding("exact-duplicates", exact, places, same, "warning"),
        finding("near-duplicates", near, places, alike, "warning"),
    ]


def _check_conflicts(dataset: Dataset, places: Places) -> Finding:
    labels: dict[str, set[frozenset[str]]] = {}
    for key, names in zip(dataset.keys, dataset.labels, strict=True):
        labels.setdefault(key, set()).add(frozenset(names))
    indices = [index for index, key in enumerate(dataset.keys) if len(labels[key]) > 1]
    return finding("conflicting-labels", indices, places, "The same text under different labels.", "warning")


def _check_own_splits(dataset: Dataset, places: Places) -> list[Finding]:
    splits = dataset.given_splits
    if splits is None:
        return []
    ranks = [SPLITS.index(name) for name in splits]
    latest: dict[str, int] = {}
    for key, rank in zip(dataset.keys, ranks, strict=True):
        latest[key] = max(latest.get(key, 0), rank)
    straddling = [i for i, key in enumerate(dataset.keys) if ranks[i] < latest[key]]
    detail = "Also in a later split (test after validation after train); removed from the earlier when split."
    overlap = finding("split-overlap", straddling, places, detail, "warning")
    return [overlap, _check_untrained(dataset, splits, places)]


def _check_untrained(dataset: Dataset, splits: Sequence[str], places: Places) -> Finding:
    """Find labels that occur in the user's own validation or test split but not in the training one."""
    pairs = list(zip(splits, dataset.labels, strict=True))
    known = {name for split, names in pairs if split == "train" for name in names}
    indices = [i for i, (_, names) in enumerate(pairs) if not known.issuperset(names)]
    unknown = sorted({name for _, names in pairs for name in names} - known)
    severity: Severity = "warning" if dataset.task == "multi-label" else "error"
    rows = ", ".join(str(places[index]) for index in indices[:FIRST_ROWS])
    detail = (
        f"Labels that no training example has: {_list(map(repr, unknown))} (rows {rows}). "
        "Add training examples, or rename them with --label-map."
    )
    return finding("untrained-labels", indices, places, detail, severity)


def check_lengths(
    texts: Sequence[str],
    token_counts: Sequence[int],
    limit: int,
    rows: Places | None = None,
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
    over = np.flatnonzero(counts > limit)
    lost = int((counts[over] - limit).sum())
    share = lost / max(int(counts.sum()), 1)
    detail = f"Longer than {limit:,} tokens: {lost:,} tokens ({share:.1%} of all) are lost by truncation."
    if windows:
        detail = f"Longer than {limit:,} tokens: read whole, in overlapping windows."
    return finding("long-texts", over, rows or range(1, len(texts) + 1), detail, "warning")
