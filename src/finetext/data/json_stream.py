"""JSON Lines of any length, a block of lines at a time."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from finetext.data.json_lines import as_text, parse_record, sound
from finetext.errors import DataError

_LARGEST = 2**63


class Number(str):
    """A number as it is written in the file."""

    __slots__ = ()


@dataclass
class Keys:
    """The keys of all objects, and what stands under each."""

    kinds: dict[str, set[type]] = field(default_factory=dict)
    rows: int = 0

    def add(self, record: dict[str, Any]) -> None:
        """Count an object in."""
        self.rows += 1
        for key, value in record.items():
            kinds = self.kinds.setdefault(key, set())
            if value is not None:
                kinds.add(_kind(value))

    def dtype(self, key: str) -> pl.DataType:
        """Return the type of a column: a number or a truth value where all are that, else text."""
        kinds = self.kinds[key]
        if kinds in ({int}, {bool}):
            return pl.Int64() if kinds == {int} else pl.Boolean()
        return pl.Float64() if kinds in ({float}, {int, float}) else pl.String()


def _kind(value: Any) -> type:
    if type(value) is int and not -_LARGEST <= value < _LARGEST:
        return object  # fits no column of numbers
    return type(value)


def survey(pieces: Iterable[bytes], name: str) -> Keys:
    """Look through JSON Lines.

    Raises:
        DataError: A line is not a JSON object.
    """
    keys = Keys()
    for row, line in _lines(pieces):
        keys.add(parse_record(line, name, row))
    return keys


def _lines(pieces: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    before = 0
    for piece in pieces:
        lines = piece.removesuffix(b"\n").split(b"\n")
        for number, line in enumerate(lines, start=before + 1):
            if line.strip():
                yield number, line.strip()
        before += len(lines)


def frames(
    pieces: Iterable[bytes], name: str, keys: Keys, *, typed: bool, wanted: Sequence[str] | None = None
) -> Iterator[tuple[pl.DataFrame, list[bytes]]]:
    """Read JSON Lines.

    Args:
        pieces: Whole lines.
        name: What to call the file in messages.
        keys: What `survey` found.
        typed: Make columns of numbers; else numbers are text, as they are written in the file.
        wanted: The keys that become columns; all by default.

    Yields:
        A table with a column for each key that is wanted, and its lines as they stand in the file.

    Raises:
        DataError: A line is not a JSON object, or holds what the survey did not see.
    """
    before = 0
    for piece in pieces:
        numbered = [(row + before, line) for row, line in _lines([piece])]
        before += piece.count(b"\n")
        if not numbered:
            continue
        records = [_record(line, name, row, keys, typed) for row, line in numbered]
        columns = [
            _column(key, [own.get(key) for own in records], keys, typed) for key in wanted or keys.kinds
        ]
        yield pl.DataFrame(columns), [line for _, line in numbered]


def _record(line: bytes, name: str, row: int, keys: Keys, typed: bool) -> dict[str, Any]:
    raw = {} if typed else {"parse_int": Number, "parse_float": Number, "parse_constant": Number}
    record = parse_record(line, name, row, **raw)
    for key, value in record.items():
        unknown = key not in keys.kinds
        if unknown or (typed and value is not None and _kind(value) not in keys.kinds[key]):
            what = f"the key {key!r} is new" if unknown else f"{key!r} has another type than before"
            raise DataError(
                f"{name}:{row}: {what} in this row, and a stream cannot be looked through in advance. "
                "Save it, and give it with --file."
            )
    if raw and any(isinstance(value, (list, dict)) for value in record.values()):
        plain = json.loads(line)
        record = {
            key: plain[key] if isinstance(value, (list, dict)) else value for key, value in record.items()
        }
    return record


def _column(key: str, values: list[Any], keys: Keys, typed: bool) -> pl.Series:
    dtype = keys.dtype(key)
    if typed and dtype != pl.String():
        return pl.Series(key, values, dtype=dtype, strict=dtype != pl.Float64())
    cells = [None if v is None else sound(v) if isinstance(v, str) else as_text(v) for v in values]
    return pl.Series(key, cells, dtype=pl.String)
