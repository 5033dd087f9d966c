"""Reading a source into checked, labelled texts."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from finetext.data.checks import check
from finetext.data.columns import choose_column, find_columns
from finetext.data.config import DataConfig, SplitName
from finetext.data.dataset import Dataset, name_task, order_classes
from finetext.data.findings import Finding, finding
from finetext.data.labels import map_labels, name_labels, parse_labels, parse_texts
from finetext.data.readers.batches import RawTable
from finetext.data.sources import load, parse_splits
from finetext.errors import DataError


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
    tables = loaded.tables
    columns = [find_columns(table.frame, config, table.name, table.headerless) for table in tables]
    splits = _find_splits(tables, config)
    texts = [
        text
        for table, (column, _) in zip(tables, columns, strict=True)
        for text in parse_texts(table.frame[column], table)
    ]
    cells = [table.frame[column] for table, (_, column) in zip(tables, columns, strict=True)]
    labels = parse_labels(cells, tables)
    rows = [row for table in tables for row in table.rows.tolist()]
    multi = _is_multi_label(cells, labels, rows, config)
    places: list[int | str] = [*rows]
    if len(tables) > 1:
        places = [f"{Path(table.name).name}:{row}" for table in tables for row in table.rows]
    kept, incomplete = _find_incomplete(texts, labels, places, multi)
    names = map_labels(name_labels([labels[index] or "" for index in kept], multi), config.label_map)
    classes = order_classes(name for combination in set(names) for name in combination)
    text_column, label_column = columns[0]
    dataset = Dataset(
        texts=[texts[index] or "" for index in kept],
        labels=names,
        rows=[rows[index] for index in kept],
        class_names=classes,
        task=name_task(multi, len(classes)),
        source=replace(
            loaded.source, format=tables[0].format, text_column=text_column, label_column=label_column
        ),
        given_splits=None if splits is None else [splits[index] for index in kept],
    )
    return replace(dataset, findings=check(dataset, incomplete, [places[index] for index in kept]))


def _find_splits(tables: Sequence[RawTable], config: DataConfig) -> list[SplitName] | None:
    """Return the split of each row, None if the source does not say."""
    if config.split_column is not None:  # then there is one table
        table = tables[0]
        column = choose_column(table.frame, config.split_column, "split", table.name)
        return parse_splits(table.frame[column], table)
    if len(tables) == 1:
        return None
    return [table.split for table in tables for _ in range(table.frame.height)]


def _find_incomplete(
    texts: Sequence[str | None], labels: Sequence[str | None], places: Sequence[int | str], multi: bool
) -> tuple[list[int], list[Finding]]:
    """Return the rows with a text and a label, and findings about the others."""
    kept: list[int] = []
    no_text: list[int] = []
    no_label: list[int] = []
    for index, (text, label) in enumerate(zip(texts, labels, strict=True)):
        if text is None:
            no_text.append(index)
        else:
            (kept if label or (multi and label is not None) else no_label).append(index)
    findings = [
        finding("missing-texts", no_text, places, "No text; these rows are left out.", "warning"),
        finding("missing-labels", no_label, places, "No label; these rows are left out.", "warning"),
    ]
    if multi:
        unlabelled = [index for index in kept if not labels[index]]
        findings.append(finding("no-labels", unlabelled, places, "A text with none of the labels.", "info"))
    return kept, findings


def _is_multi_label(
    cells: Sequence[pl.Series], labels: Sequence[str | None], rows: Sequence[int], config: DataConfig
) -> bool:
    """Return whether texts may have several labels: labels come in lists, or with `|` between them."""
    lists = any(isinstance(series.dtype, pl.List | pl.Array) for series in cells)
    several = next((row for row, label in zip(rows, labels, strict=True) if label and "|" in label), None)
    if config.task == "single-label" and lists and several is not None:
        raise DataError(f"row {several}: several labels in a list, but --task single-label.")
    return config.task == "multi-label" or (config.task == "auto" and (lists or several is not None))
