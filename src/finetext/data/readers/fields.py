"""Splitting whole lines of delimited text into rows and fields."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

BLANKS = " \t\n\r\x0b\x0c"
_UNCLOSED = re.compile(r'"[^"]*+(?:""[^"]*+)*+\Z')


@dataclass(frozen=True)
class Dialect:
    """How the rows and fields of a file are told apart."""

    delimiter: str
    """One ASCII character."""
    quoted: bool
    """Whether quotation marks may enclose fields."""
    crlf: bool = False
    """Whether every line ends in CR LF, so that the CR belongs to the line end."""
    refuse_swallowed: bool = False
    """Whether to refuse rows with unpaired quotation marks that look like one quoted field."""
    width: int | None = None
    """Fields a row, by default those of the first row."""


@dataclass(frozen=True)
class Parsed:
    """The fields of some consecutive rows."""

    frame: pl.DataFrame
    """The rows of the file's width, blank lines left out."""
    numbers: NDArray[np.int64]
    """Row of each in the file, from 1; blank lines count, a quoted line break does not."""
    total: int
    """Number of rows, blank lines included."""
    uneven: tuple[tuple[int, int], ...] = ()
    """Row and width of those with more or fewer fields."""
    well_formed: bool = True
    """Whether each quotation mark encloses a field, or is doubled within one."""


def parse(text: bytes, dialect: Dialect, *, final: bool = True) -> tuple[Parsed, int]:
    """Split whole lines into rows and fields.

    Args:
        text: UTF-8; it starts with a row.
        dialect: How rows and fields are told apart.
        final: Whether nothing follows; if not, the rows from an unclosed quotation mark on are not taken.

    Returns:
        The rows, and how many bytes they are.
    """
    end = len(text) if final or not dialect.quoted else _even_end(text)
    if end and (frame := _parse_by_polars(text[:end], dialect)) is not None:
        return Parsed(frame, np.arange(1, frame.height + 1), frame.height), end
    return _parse_by_pattern(text.decode(), dialect, final)


def _even_end(text: bytes) -> int:
    """Return the offset behind the last line end that an even number of quotation marks precedes."""
    newline = text.rfind(b"\n")
    odd = text.count(b'"', 0, max(newline, 0)) % 2
    while newline >= 0 and odd:
        before = text.rfind(b"\n", 0, newline)
        odd = (odd + text.count(b'"', before + 1, newline)) % 2
        newline = before
    return newline + 1


def _parse_by_polars(text: bytes, dialect: Dialect) -> pl.DataFrame | None:
    """Return the fields, or None if there are blank lines, uneven rows, stray quotation marks or stray CRs."""
    delimiter, feeds, returns = dialect.delimiter.encode(), text.count(b"\n"), text.count(b"\r")
    if returns and not (dialect.crlf and returns == feeds == text.count(b"\r\n")):
        return None
    outside = [text]
    if dialect.quoted and b'"' in text:
        if not _is_well_formed(text, dialect):
            return None
        outside = text.split(b'"')[::2]
    width = dialect.width or _first_width(text.decode(), dialect)
    height = sum(part.count(b"\n") for part in outside) + (not text.endswith(b"\n"))
    if sum(part.count(delimiter) for part in outside) != height * (width - 1):
        return None
    if width == 1 and (text.startswith((b"\n", b"\r\n")) or b"\n\n" in text or b"\n\r\n" in text):
        return None
    try:
        frame = pl.read_csv(
            io.BytesIO(text),
            has_header=False,
            schema={f"column {index + 1}": pl.String for index in range(width)},
            separator=dialect.delimiter,
            quote_char='"' if dialect.quoted else None,
            empty_string_is_null=False,
        )
    except pl.exceptions.PolarsError:
        return None
    return frame if frame.height == height else None


def _is_well_formed(text: bytes, dialect: Dialect) -> bool:
    border = re.escape(dialect.delimiter.encode())
    field = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^"%b\n]*+)' % border
    return re.fullmatch(rb"(?:%b(?:%b|\r?\n|\Z))*+" % (field, border), text) is not None


def _first_width(text: str, dialect: Dialect) -> int:
    rows = _quoted_rows(text, dialect, True) if dialect.quoted else _plain_rows(text, dialect)
    return next((len(fields) for fields, line in rows if not _is_blank(line, dialect, 1)), 1)


def _parse_by_pattern(text: str, dialect: Dialect, final: bool) -> tuple[Parsed, int]:
    width, total, taken = dialect.width, 0, 0
    rows: list[list[str]] = []
    numbers: list[int] = []
    uneven: list[tuple[int, int]] = []
    lines = _quoted_rows(text, dialect, final) if dialect.quoted else _plain_rows(text, dialect)
    for fields, line in lines:
        total += 1
        taken += len(line)
        if _is_blank(line, dialect, width or 1):
            continue
        width = width or len(fields)
        if len(fields) == width:
            rows.append(fields)
            numbers.append(total)
        else:
            uneven.append((total, len(fields)))
    schema = {f"column {index + 1}": pl.String for index in range(width or 0)}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    rows_text = text[:taken].encode()
    well_formed = not dialect.quoted or _is_well_formed(rows_text, dialect)
    parsed = Parsed(frame, np.asarray(numbers, dtype=np.int64), total, tuple(uneven), well_formed)
    return parsed, len(rows_text)


def _is_blank(line: str, dialect: Dialect, width: int) -> bool:
    """Return whether a line is empty or, in a file of several columns, only white space."""
    if width > 1 and dialect.delimiter not in line:
        return not line.strip(BLANKS)
    return line in ("", "\n") or (dialect.crlf and line == "\r\n")


def _plain_rows(text: str, dialect: Dialect) -> Iterator[tuple[list[str], str]]:
    """Yield the fields of each line, and the line."""
    for line in io.StringIO(text, newline="\n"):
        yield line.removesuffix("\r\n" if dialect.crlf else "\n").split(dialect.delimiter), line


def _quoted_rows(text: str, dialect: Dialect, final: bool) -> Iterator[tuple[list[str], str]]:
    """Yield the fields of each row, and the row; a field is quoted only if both quotation marks are at its ends."""
    border = re.escape(dialect.delimiter)
    quoted = rf'"([^"]*+(?:""[^"]*+)*+)"(?={border}|\r?\n|\r?\Z)\r?'
    fields: list[str] = []
    start = 0
    for match in re.finditer(rf"(?:{quoted}|([^{border}\n]*+))({border}|\n|\Z)", text):
        if match[1] is not None:
            fields.append(match[1].replace('""', '"'))
        elif match[2].startswith('"') and not final and _UNCLOSED.match(text, match.start()):
            return
        else:
            fields.append(match[2].removesuffix("\r") if dialect.crlf and match[3] == "\n" else match[2])
        if match[3] != dialect.delimiter:
            yield fields, text[start : match.end()]
            fields, start = [], match.end()
            if start == len(text):
                return
