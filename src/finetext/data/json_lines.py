"""Reading JSON Lines: by Polars, or by Python where a column mixes types or a line is broken."""

import io
import json
from typing import Any

import numpy as np
import polars as pl

from finetext.errors import DataError


def read_json(text: bytes, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    """Read JSON Lines, or one JSON array of objects.

    Args:
        text: UTF-8.
        name: What to call the file in messages.

    Returns:
        A column for each key, and the row of each object in the file, counted from 1.

    Raises:
        DataError: A line is not a JSON object.
    """
    if text.lstrip().startswith(b"["):
        return _read_json_array(text, name)
    lines = text.split(b"\n")
    rows = np.asarray([number for number, line in enumerate(lines, start=1) if line.strip()])
    try:
        frame = pl.read_ndjson(io.BytesIO(text), infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        frame = None
    if frame is None or frame.height != rows.size or _holds_merged_values(frame):
        records = [parse_record(lines[row - 1], name, int(row)) for row in rows]
        frame = _frame_of_records(records)
    return frame, rows


def _holds_merged_values(frame: pl.DataFrame) -> bool:
    """Say whether Polars may have turned values of different types into text of its own making."""
    for series in frame:
        if series.dtype == pl.String and series.str.contains(r"^[\[{]").any():
            return True
        if series.dtype.is_float() and (series.is_nan().any() or series.is_infinite().any()):
            return True
    return False


def parse_record(line: bytes, name: str, row: int, **how: Any) -> dict[str, Any]:
    """Return the JSON object of a line.

    Args:
        line: UTF-8.
        name: What to call the file in messages.
        row: The line's number in it.
        how: What else `json.loads` takes.

    Raises:
        DataError: It is none.
    """
    try:
        record = json.loads(line, **how)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}:{row}: not valid JSON: {error}.") from error
    if not isinstance(record, dict):
        raise DataError(f'{name}:{row}: not a JSON object such as {{"text": "…", "label": "…"}}.')
    return record


def _read_json_array(text: bytes, name: str) -> tuple[pl.DataFrame, np.ndarray]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not valid JSON: {error}.") from error
    for row, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f'{name}:{row}: not a JSON object such as {{"text": "…", "label": "…"}}.')
    return _frame_of_records(records), np.arange(1, len(records) + 1)


def _frame_of_records(records: list[dict[str, Any]]) -> pl.DataFrame:
    names = dict.fromkeys(key for record in records for key in record)
    return pl.DataFrame([_series(name, [record.get(name) for record in records]) for name in names])


def _series(name: str, values: list[Any]) -> pl.Series:
    """Make a column of one type; of mixed types, all become text, lists of names their `|`-joined form."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str}:
        return pl.Series(name, [None if v is None else sound(v) for v in values], dtype=pl.String)
    if kinds in ({int}, {float}, {bool}, {int, float}, {list}):
        try:
            return pl.Series(name, values, strict=kinds != {int, float})
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    return pl.Series(name, [None if value is None else as_text(value) for value in values], dtype=pl.String)


def sound(text: str) -> str:
    """Replace lone surrogates, which JSON can escape and UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode()


def as_text(value: Any) -> str:
    """Return a value of JSON as a cell of text: strings as they are, lists of strings joined by `|`."""
    if isinstance(value, str):
        return sound(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return sound("|".join(value))
    return json.dumps(value, ensure_ascii=False)
