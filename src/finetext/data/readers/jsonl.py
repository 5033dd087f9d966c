"""JSON Lines, and one JSON array of objects."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from finetext.data.readers.batches import Cells, NumberedBatch, RowBatch, Rows
from finetext.data.readers.decode import Content, whole_lines
from finetext.errors import DataError

_MAX_INT = 2**63


@dataclass
class _Columns:
    """The keys of all objects, and the types of their values."""

    types: dict[str, set[type]] = field(default_factory=dict)
    item_types: dict[str, set[type]] = field(default_factory=dict)
    """The types of what lists hold."""
    height: int = 0

    def add(self, record: dict[str, Any]) -> None:
        """Count an object in."""
        self.height += 1
        for key, value in record.items():
            types = self.types.setdefault(key, set())
            if value is not None:
                types.add(_type(value))
            if isinstance(value, list):
                items = self.item_types.setdefault(key, set())
                items.update(_type(item) for item in value if item is not None)

    def dtype(self, key: str, cells: Cells) -> pl.DataType:
        """Return the type of a column: a number or a truth value where all are that, else text."""
        types = self.types[key]
        if cells in ("written", "lines"):
            return pl.String()
        if cells == "native" and types == {list}:
            return pl.List(_scalar_dtype(self.item_types[key]))
        if cells == "native" and types == {dict}:
            return pl.Struct({"json": pl.String()})
        return _scalar_dtype(types)


def _type(value: Any) -> type:
    if type(value) is int and not -_MAX_INT <= value < _MAX_INT:
        return object  # fits no column of numbers
    return type(value)


def _scalar_dtype(types: set[type]) -> pl.DataType:
    if types in ({int}, {bool}):
        return pl.Int64() if types == {int} else pl.Boolean()
    return pl.Float64() if types in ({float}, {int, float}) else pl.String()


def open_jsonl(content: Content) -> Rows:
    """Look through JSON Lines, or read a JSON array, which is one document and so is held in memory.

    Raises:
        DataError: A line is not a JSON object.
    """
    name = content.name
    if content.head.lstrip().startswith(b"["):
        return _open_array(b"".join(content.chunks()), name)
    columns = _Columns()
    for lines in _numbered_lines(content.known(), ended=not content.open_ended):
        for row, line in lines:
            columns.add(_parse_object(line, name, row))

    def read(cells: Cells, column: str | None) -> Iterator[NumberedBatch]:
        keys = [column] if cells == "lines" and column else list(columns.types)
        for lines in filter(None, _numbered_lines(content.chunks())):
            records = [_parse_known(line, name, row, columns, cells) for row, line in lines]
            batch = RowBatch(_frame(records, keys, columns, cells), [line for _, line in lines])
            yield batch, np.asarray([row for row, _ in lines])

    height = None if content.open_ended else columns.height
    return Rows(name, "jsonl", pl.DataFrame(schema=list(columns.types)), height, read)


def _open_array(text: bytes, name: str) -> Rows:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON: {error}.") from error
    columns = _Columns()
    for row, record in enumerate(records, start=1):
        columns.add(_check_object(record, name, row))
    frame = _frame(records, list(columns.types), columns, "native")
    numbers = np.arange(1, frame.height + 1)
    return Rows(name, "jsonl", frame, frame.height, lambda cells, column: iter([(RowBatch(frame), numbers)]))


def _numbered_lines(chunks: Iterable[bytes], *, ended: bool = True) -> Iterator[list[tuple[int, bytes]]]:
    """Yield the lines of each chunk that are not blank, each with its number in the file."""
    before = 0
    for chunk in whole_lines(chunks, ended=ended):
        lines = chunk.removesuffix(b"\n").split(b"\n")
        yield [(number, line.strip()) for number, line in enumerate(lines, before + 1) if line.strip()]
        before += len(lines)


def _parse_object(line: bytes, name: str, row: int, number: type[str] | None = None) -> dict[str, Any]:
    """Return the JSON object of a line, its numbers as they are written if `number` is `str`."""
    try:
        record = json.loads(line, parse_int=number, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}:{row}: not valid JSON: {error}.") from error
    return _check_object(record, name, row)


def _check_object(record: Any, name: str, row: int) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise DataError(f'{name}:{row}: not a JSON object such as {{"text": "…", "label": "…"}}.')
    return record


def _parse_known(line: bytes, name: str, row: int, columns: _Columns, cells: Cells) -> dict[str, Any]:
    """Return the JSON object of a line; a stream may hold what was not seen when its start was looked through."""
    typed = cells in ("native", "typed")
    record = _parse_object(line, name, row, None if typed else str)
    for key, value in record.items():
        unknown = key not in columns.types
        if unknown or (typed and value is not None and _type(value) not in columns.types[key]):
            what = f"unexpected key {key!r}: it was" if unknown else f"{key!r} has a type that was"
            raise DataError(
                f"{name}:{row}: {what} not in the first rows, and a stream cannot be read twice. "
                "Save the data to a file and pass --file."
            )
    if not typed and any(isinstance(value, (list, dict)) for value in record.values()):
        plain = json.loads(line)  # within lists and objects, numbers are written as Python does
        record = {
            key: plain[key] if isinstance(value, (list, dict)) else value for key, value in record.items()
        }
    return record


def _frame(records: list[dict[str, Any]], keys: list[str], columns: _Columns, cells: Cells) -> pl.DataFrame:
    return pl.DataFrame(
        [_series(key, [record.get(key) for record in records], columns.dtype(key, cells)) for key in keys]
    )


def _series(key: str, values: list[Any], dtype: Any) -> pl.Series:
    if isinstance(dtype, pl.List):
        items = [None if value is None else _series("", value, dtype.inner) for value in values]
        return pl.Series(key, items, dtype=dtype)
    if dtype == pl.String:
        values = [None if value is None else _as_text(value) for value in values]
    elif isinstance(dtype, pl.Struct):
        values = [None if value is None else {"json": _as_text(value)} for value in values]
    return pl.Series(key, values, dtype=dtype, strict=dtype != pl.Float64())  # integers among floats


def _as_text(value: Any) -> str:
    """Return a JSON value as a cell of text: strings as they are, lists of strings joined by `|`."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = "|".join(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()  # JSON can escape lone surrogates, UTF-8 cannot hold them
