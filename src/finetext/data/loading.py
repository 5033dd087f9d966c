"""Reading a source into checked, labelled texts."""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from finetext.data.checks import check
from finetext.data.columns import find_columns, find_split_column
from finetext.data.config import DataConfig, SplitName
from finetext.data.dataset import Dataset, Source, name_task, order_classes
from finetext.data.findings import Finding, finding
from finetext.data.labels import map_labels, name_labels, parse_labels, parse_texts
from finetext.data.sources import load, parse_splits
from finetext.data.tables import Loaded
from finetext.errors import DataError


@dataclass(frozen=True)
class _Columns:
    """The rows of all parts, concatenated; None where a cell is missing."""

    texts: list[str | None]
    labels: list[str | None]
    rows: list[int]
    splits: list[SplitName] | None
    files: list[str]
    """Name of each row's file, empty if there is only one."""
    lists: bool
    """Whether labels come in lists, which makes the task multi-label."""
    names: tuple[str, str]
    """Those of the columns with the texts and the labels, in the first part."""

    def place(self, index: int) -> int | str:
        """Return the row of an example for a message."""
        return f"{self.files[index]}:{self.rows[index]}" if self.files[index] else self.rows[index]


def read(source: str | Path, config: DataConfig) -> Dataset:
    """Read a source, check it, and drop the rows without text or label.

    Args:
        source: A file, a folder with train/validation/test files, `hf:owner/name`, or a built-in name.
        config: How to read it.

    Raises:
        DataError: It cannot be read or is unfit for training; all reasons are reported together.
        DownloadError: A built-in or Hub dataset could not be fetched.
        UsageError: Options that do not fit together.

    Example:
        >>> from finetext.data import DataConfig, read
        >>> dataset = read("sample", DataConfig())
        >>> dataset.class_names
        ('ham', 'spam')
    """
    dataset = examine(source, config)
    dataset.findings.refuse_errors(dataset.source.name)
    return dataset


def examine(source: str | Path, config: DataConfig) -> Dataset:
    """Read and check like `read`, but leave fatal findings in `findings` instead of raising them."""
    loaded = load(str(source), config)
    columns = _gather(loaded, config)
    multi = _is_multi_label(columns, config)
    kept, incomplete = _find_incomplete(columns, multi)
    names = name_labels([columns.labels[index] or "" for index in kept], multi)
    names = map_labels(names, config.label_map)
    classes = order_classes(name for labels in set(names) for name in labels)
    dataset = Dataset(
        texts=[columns.texts[index] or "" for index in kept],
        labels=names,
        rows=[columns.rows[index] for index in kept],
        class_names=classes,
        task=name_task(multi, len(classes)),
        source=Source(
            loaded.name,
            loaded.files,
            loaded.parts[0].table.format,
            *columns.names,
            loaded.digest,
            loaded.synthetic,
            loaded.revision,
        ),
        given_splits=None if columns.splits is None else [columns.splits[index] for index in kept],
    )
    findings = check(dataset, incomplete, lambda index: columns.place(kept[index]))
    return replace(dataset, findings=findings)


def _find_incomplete(columns: _Columns, multi: bool) -> tuple[list[int], list[Finding]]:
    """Return the rows with a text and a label, and findings about the others."""
    kept, no_text, no_label, unlabelled = [], [], [], []
    for index, (text, label) in enumerate(zip(columns.texts, columns.labels, strict=True)):
        if text is None:
            no_text.append(index)
        elif label is None or (not label and not multi):
            no_label.append(index)
        else:
            kept.append(index)
            if not label:
                unlabelled.append(index)
    place = columns.place
    findings = [
        finding("missing-texts", no_text, place, "No text; these rows are left out.", "warning"),
        finding("missing-labels", no_label, place, "No label; these rows are left out.", "warning"),
    ]
    if multi:
        findings.append(finding("no-labels", unlabelled, place, "A text with none of the labels.", "info"))
    return kept, findings


def _is_multi_label(columns: _Columns, config: DataConfig) -> bool:
    if config.task == "single-label" and columns.lists:
        several = next((i for i, cell in enumerate(columns.labels) if cell and "|" in cell), None)
        if several is not None:
            raise DataError(
                f"row {columns.rows[several]}: several labels in a list, but --task single-label."
            )
    if config.task != "auto":
        return config.task == "multi-label"
    return columns.lists or any("|" in cell for cell in set(columns.labels) if cell)


def _gather(loaded: Loaded, config: DataConfig) -> _Columns:
    """Extract texts, labels and splits of all parts."""
    texts: list[str | None] = []
    series: list[pl.Series] = []
    rows: list[int] = []
    files: list[str] = []
    splits: list[SplitName] = []
    chosen: list[tuple[str, str]] = []
    for part in loaded.parts:
        table = part.table
        text, label = find_columns(table.frame, config, table.name, table.headerless)
        chosen.append((text, label))
        column = find_split_column(table.frame, config, table.name)
        texts += parse_texts(table.frame[text], table)
        series.append(table.frame[label])
        rows += table.rows.tolist()
        files += [Path(table.name).name if len(loaded.parts) > 1 else ""] * table.frame.height
        default: list[SplitName] = [part.split or "train"] * table.frame.height
        splits += default if column is None else parse_splits(table.frame[column], table)
    lists = any(isinstance(labels.dtype, pl.List | pl.Array) for labels in series)
    labels = parse_labels(series, [part.table for part in loaded.parts])
    has_splits = loaded.parts[0].split is not None or config.split_column is not None
    return _Columns(texts, labels, rows, splits if has_splits else None, files, lists, chosen[0])
