"""Converting the cells of a text or label column to texts and class names."""

import re
from collections.abc import Mapping, Sequence

import polars as pl

from finetext.data.readers.batches import RawTable
from finetext.errors import DataError, UsageError, closest

WHOLE_NUMBER = re.compile(r"-?\d+(\.0+)?", re.ASCII)


def parse_texts(series: pl.Series, table: RawTable) -> list[str | None]:
    """Return the texts as they stand; None for null and for white space only."""
    if series.dtype.is_nested() or series.dtype == pl.Binary:
        raise DataError(
            f"{table.name}: column {series.name!r} holds {_describe(series.dtype)}, not texts. "
            "Choose another with --text-column."
        )
    texts = series.cast(pl.String)
    blank = texts.str.strip_chars() == ""
    return texts.set(blank.fill_null(True), None).to_list()


def _describe(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Struct):
        return "objects"
    return "lists" if dtype.is_nested() else "bytes"


def parse_labels(columns: Sequence[pl.Series], tables: Sequence[RawTable]) -> list[str | None]:
    """Return each label cell as text, several labels joined by `|`; None for null and NaN.

    Whole numbers lose a decimal zero (`1.0` is `1`) if all labels are whole numbers.
    """
    cells: list[str | None] = []
    for series, table in zip(columns, tables, strict=True):
        cells += _label_cells(series, table)
    distinct = {cell for cell in cells if cell}
    parts = {part for cell in distinct for part in cell.split("|") if part}
    if parts and all(WHOLE_NUMBER.fullmatch(part) for part in parts):
        whole = {cell: "|".join(part.split(".")[0] for part in cell.split("|")) for cell in distinct}
        cells = [whole.get(cell, cell) if cell else cell for cell in cells]
    return cells


def _label_cells(series: pl.Series, table: RawTable) -> list[str | None]:
    kind = series.dtype
    if isinstance(kind, pl.List | pl.Array):
        return _list_cells(series, table)
    if kind.is_float():
        series = series.fill_nan(None)
        if bool(((series == series.round()) & series.is_finite()).fill_null(True).all()):
            series = series.cast(pl.Int64, strict=False)
    elif kind.is_nested() or kind in (pl.Binary, pl.Object):
        raise DataError(
            f"{table.name}: column {series.name!r} holds {_describe(kind)}, not labels. "
            "Choose another with --label-column."
        )
    return [None if cell is None else cell.strip() for cell in series.cast(pl.String).to_list()]


def _list_cells(series: pl.Series, table: RawTable) -> list[str | None]:
    cells: list[str | None] = []
    for row, names in zip(table.rows, series.to_list(), strict=True):
        if names is None:
            cells.append(None)
            continue
        texts = [str(name).strip() for name in names if name is not None]
        if any("|" in text for text in texts):
            raise DataError(
                f"{table.name}:{row}: a label in a list contains `|`, which separates labels. Rename it."
            )
        cells.append("|".join(texts))
    return cells


def name_labels(cells: Sequence[str], multi: bool) -> list[tuple[str, ...]]:
    """Return the class names of each cell: one, or with `multi` those between the `|`, each once."""
    names: dict[str, tuple[str, ...]] = {}
    for cell in set(cells):
        parts = [part.strip() for part in cell.split("|")] if multi else [cell]
        names[cell] = tuple(dict.fromkeys(part for part in parts if part))
    return [names[cell] for cell in cells]


def map_labels(labels: list[tuple[str, ...]], renamed: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Rename or merge classes.

    Raises:
        UsageError: A class to be renamed does not occur, nor does its new name.
    """
    if not renamed:
        return labels
    known = sorted({name for names in set(labels) for name in names})
    for old, new in renamed.items():
        if old not in known and new not in known:
            listed = ", ".join(map(repr, known[:20]))
            raise UsageError(
                f"--label-map.{old}: no such label; the labels are {listed}.{closest(old, known)}"
            )
        if not new.strip():
            raise UsageError(f"--label-map.{old}: the new name is empty.")
    mapped = {names: tuple(dict.fromkeys(renamed.get(name, name) for name in names)) for names in set(labels)}
    return [mapped[names] for names in labels]
