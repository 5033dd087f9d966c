"""Lossless reading of comma- and tab-separated text.

Common readers let an unpaired quotation mark swallow lines. Here the shape of the file is settled first, by
the positions of quotes, separators and line ends in all of it; only then are the fields taken, by Polars
where it reads that shape exactly, else by a regular expression. A file that is too large for the memory is
read in pieces of whole rows, each with the shape of the whole.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from finetext.data.stray import StrayRows, split_fields, stray_rows, stray_rows_end
from finetext.data.structure import (
    NEWLINE,
    RETURN,
    Layout,
    Marks,
    count_between,
    count_marks,
    lay_out,
    rows_end,
    unix_lines,
)
from finetext.errors import DataError

Quoting = Literal["auto", "csv", "none"]
LONGEST_ROW = 32 << 20
"""Bytes of a row, in a file read in pieces, after which a quotation mark without a partner is a plain character."""


@dataclass(frozen=True)
class Grid:
    """The fields of a file or of a piece of it, all rows of one width, blank lines left out."""

    frame: pl.DataFrame
    rows: np.ndarray
    """Row of each line of `frame` in the file, from 1; blank lines count, a quoted line break does not."""
    total: int
    """Rows in all, blank lines included."""


@dataclass(frozen=True)
class Shape:
    """How the rows and fields of a file are told apart, settled for all of it.

    Attributes:
        delimiter: What separates fields, one ASCII character.
        quotes: `plain` characters, `enclosing` fields, or `stray` here and there.
        crlf: Whether a CR before a line end belongs to it.
        careful: Refuse rows with unpaired quotes that look like one quoted field.
        width: Fields a row; None before the first row was seen, 0 if there is none.
    """

    delimiter: str
    quotes: Literal["plain", "enclosing", "stray"]
    crlf: bool
    careful: bool = False
    width: int | None = None


def parse(content: bytes, name: str, delimiter: str, quoting: Quoting) -> Grid:
    """Split UTF-8 text into fields without losing a character or a row.

    Args:
        content: The file's content, without a byte order mark.
        name: What to call the file in messages.
        delimiter: One ASCII character.
        quoting: `csv` if quotation marks may enclose fields, `none` if they are plain characters, `auto`
            to look.

    Raises:
        DataError: A row has more or fewer fields than the first, or the quotes can be read in two ways.
    """
    marks = count_marks([content])
    if marks.only_returns:
        content = unix_lines(content)
        marks = count_marks([content])
    shape, _ = settle(lambda _: [content], marks, name, delimiter, quoting)
    return read_piece(content, shape, name)


def settle(
    read: Callable[[Shape], Iterable[bytes]], marks: Marks, name: str, delimiter: str, quoting: Quoting
) -> tuple[Shape, int]:
    """Find out how a file is to be read, by looking through all of it, once for each reading that it takes.

    Args:
        read: Gives the file from its start in pieces of whole rows, as `pieces` cuts them.
        marks: What its bytes say.
        name: What to call the file in messages.
        delimiter: One ASCII character.
        quoting: What the user said about quotation marks.

    Returns:
        The shape, and the number of rows that are not blank.

    Raises:
        DataError: A row has more or fewer fields than the first, or the quotes can be read in two ways.
    """
    auto = quoting == "auto"
    plain = Shape(delimiter, "plain", marks.crlf)
    if quoting == "none" or not marks.quotes:
        return _tally(read(plain), plain, name).settled(name)
    enclosing = _tally_enclosing(read, Shape(delimiter, "enclosing", marks.quoted_crlf, auto), name)
    if enclosing is not None and (not enclosing.uneven or not auto):
        return enclosing.settled(name)
    as_plain = _tally(read(plain), plain, name)
    if enclosing is not None and as_plain.uneven:
        return enclosing.settled(name)
    if auto and not as_plain.uneven:
        return as_plain.settled(name)
    stray = Shape(delimiter, "stray", marks.crlf, auto)
    return _tally(read(stray), stray, name).settled(name)


@dataclass
class _Tally:
    """What one reading makes of a file: how wide its first row is, and which rows are not so."""

    shape: Shape
    filled: int = 0
    uneven: int = 0
    first: tuple[int, int] = (0, 0)
    """Row and width of the first that differs."""

    def settled(self, name: str) -> tuple[Shape, int]:
        """Return the shape and the number of rows if all are of one width."""
        if self.uneven:
            raise _uneven(name, *self.first, self.shape.width or 0, self.uneven)
        return replace(self.shape, width=self.shape.width or 0), self.filled

    def add(self, widths: np.ndarray, rows: np.ndarray) -> None:
        """Count the rows of a piece that hold anything."""
        if self.shape.width is None and widths.size:
            self.shape = replace(self.shape, width=int(widths[0]))
        different = np.flatnonzero(widths != self.shape.width)
        if different.size and not self.uneven:
            self.first = (int(rows[different[0]]), int(widths[different[0]]))
        self.filled += widths.size
        self.uneven += different.size


class _IllFormed(Exception):
    """A quotation mark where none can be if they enclose fields."""


def _tally_enclosing(read: Callable[[Shape], Iterable[bytes]], shape: Shape, name: str) -> _Tally | None:
    """Return the tally with enclosing quotes, None if they do not all enclose fields."""
    try:
        return _tally(read(shape), shape, name)
    except _IllFormed:
        return None


def _tally(pieces: Iterable[bytes], shape: Shape, name: str) -> _Tally:
    tally = _Tally(shape)
    before = 0
    doubts: DataError | None = None
    for piece in pieces:
        if shape.quotes == "stray":
            found = stray_rows(piece.decode(), shape.delimiter, shape.crlf, tally.shape.width)
            widths, rows = _stray_widths(found)
            several, total = bool(found.several_lines), found.total
        else:
            buffer = np.frombuffer(piece, dtype=np.uint8)
            layout = lay_out(buffer, shape.delimiter, shape.quotes == "enclosing", shape.crlf)
            if not layout.well_formed:
                raise _IllFormed
            filled = layout.filled(buffer, tally.shape.width)
            widths, rows = layout.widths[filled], np.flatnonzero(filled) + 1
            several, total = layout.breaks_inside, len(layout.ends)
        tally.add(widths, rows + before)
        if shape.careful and several and not tally.uneven and doubts is None:
            try:
                read_piece(piece, tally.shape, name, before)
            except DataError as error:  # told only if this reading is the one that is chosen
                doubts = error
        before += total
    if doubts is not None and not tally.uneven:
        raise doubts
    return tally


def _stray_widths(found: StrayRows) -> tuple[np.ndarray, np.ndarray]:
    widths = np.asarray([len(values) for values in found.values], dtype=np.int64)
    return widths, np.asarray(found.numbers, dtype=np.int64)


def _uneven(name: str, row: int, width: int, expected: int, count: int = 1) -> DataError:
    more = f" ({count} such rows)" if count > 1 else ""
    return DataError(
        f"{name}: row {row} has {width} {'field' if width == 1 else 'fields'} where the first row has "
        f"{expected}{more}. Mend it; if quotation marks are the reason, try --quoting csv or none."
    )


def pieces(chunks: Iterable[bytes], shape: Shape, *, ended: bool = True) -> Iterator[bytes]:
    """Cut a file that comes in chunks into pieces of whole rows.

    A row that more than `LONGEST_ROW` bytes do not end is given out as it is: then its quotation mark has no
    partner in reach.

    Args:
        chunks: The file from its start.
        shape: How its rows are told apart.
        ended: Whether the chunks are all of it; else a row that they cut off is left out, unless it is the first.
    """
    held, none = b"", True
    for chunk in chunks:
        held += chunk
        end = _whole_rows(held, shape)
        if end:
            none = False
            yield held[:end]
            held = held[end:]
        elif len(held) > LONGEST_ROW and shape.quotes != "plain" and b"\n" in held:
            end = held.rfind(b"\n") + 1
            yield held[:end]
            held = held[end:]
    if held and (ended or none):
        yield held


def _whole_rows(held: bytes, shape: Shape) -> int:
    end = rows_end(held, shape.quotes != "plain")
    if shape.quotes != "stray" or (end and _encloses(held[:end], shape)):
        return end
    text = held[: held.rfind(b"\n") + 1].decode()
    return len(text[: stray_rows_end(text, shape.delimiter)].encode())


def _encloses(piece: bytes, shape: Shape) -> bool:
    """Say whether all quotes of a piece enclose fields, so that the fast way reads it as the slow one would."""
    buffer = np.frombuffer(piece, dtype=np.uint8)
    return lay_out(buffer, shape.delimiter, True, shape.crlf).well_formed


def read_piece(piece: bytes, shape: Shape, name: str, before: int = 0) -> Grid:
    """Take the fields of a file, or of a piece of it.

    Args:
        piece: Whole rows.
        shape: How they are to be read.
        name: What to call the file in messages.
        before: Rows of the file before this piece, blank lines included.

    Raises:
        DataError: A row is not of the settled width, or the quotes can be read in two ways.
    """
    if shape.quotes == "stray" and not _encloses(piece, shape):
        return _read_stray(piece, shape, name, before)
    buffer = np.frombuffer(piece, dtype=np.uint8)
    layout = lay_out(buffer, shape.delimiter, shape.quotes != "plain", shape.crlf)
    filled = layout.filled(buffer, shape.width)
    numbers = np.flatnonzero(filled) + 1
    _refuse_uneven(layout.widths[filled], numbers + before, name, shape)
    grid = _read_settled(buffer, layout, filled, shape)
    grid = replace(grid, rows=numbers + before, total=len(layout.ends))
    if shape.careful and layout.breaks_inside:
        several = np.flatnonzero(count_between(buffer == NEWLINE, layout.starts, layout.ends))
        spans = [
            (int(row) + 1 + before, bytes(buffer[layout.starts[row] : layout.ends[row]])) for row in several
        ]
        _refuse_swallowed(grid, [(row, span.decode()) for row, span in spans], name, shape.delimiter)
    return grid


def _refuse_uneven(widths: np.ndarray, rows: np.ndarray, name: str, shape: Shape) -> None:
    expected = shape.width or int(widths[0]) if widths.size else 0
    different = np.flatnonzero(widths != expected)
    if different.size:
        raise _uneven(name, int(rows[different[0]]), int(widths[different[0]]), expected, int(different.size))


def _read_settled(buffer: np.ndarray, layout: Layout, filled: np.ndarray, shape: Shape) -> Grid:
    chosen = np.flatnonzero(filled)
    width = shape.width or (int(layout.widths[filled][0]) if chosen.size else 0)
    if not width:
        return Grid(pl.DataFrame(), chosen, len(layout.ends))
    quoted = shape.quotes != "plain"
    line_ends = int(shape.crlf) * int((buffer == NEWLINE).sum())
    returns_are_line_ends = int((buffer == RETURN).sum()) == line_ends
    if returns_are_line_ends and chosen.size:
        frame = pl.read_csv(
            io.BytesIO(buffer.tobytes()),
            has_header=False,
            schema={f"column {index + 1}": pl.String for index in range(width)},
            separator=shape.delimiter,
            quote_char='"' if quoted else None,
            empty_string_is_null=False,
            missing_columns="insert",  # for the blank lines, which are left out below
        )
        if frame.height == filled.size:
            frame = frame if filled.all() else frame.filter(pl.Series(filled))
            return Grid(frame, chosen, len(layout.ends))
    spans = [(int(layout.starts[row]), int(layout.ends[row])) for row in chosen]
    content = buffer.tobytes()
    lines = [content[start:end].decode() for start, end in spans]
    table = [split_fields(line, shape.delimiter) if quoted else line.split(shape.delimiter) for line in lines]
    return Grid(_to_frame(table, width), chosen, len(layout.ends))


def _to_frame(table: list[list[str]], width: int) -> pl.DataFrame:
    columns = zip(*table, strict=True)
    series = [pl.Series(f"column {i + 1}", values, dtype=pl.String) for i, values in enumerate(columns)]
    empty = {f"column {i + 1}": pl.String for i in range(width)}
    return pl.DataFrame(series) if series else pl.DataFrame(schema=empty)


def _read_stray(piece: bytes, shape: Shape, name: str, before: int) -> Grid:
    found = stray_rows(piece.decode(), shape.delimiter, shape.crlf, shape.width)
    widths, numbers = _stray_widths(found)
    _refuse_uneven(widths, numbers + before, name, shape)
    width = shape.width or (int(widths[0]) if widths.size else 0)
    grid = Grid(_to_frame(found.values, width), numbers + before, found.total)
    if shape.careful:
        several = [(row + before, lines) for row, lines in found.several_lines]
        _refuse_swallowed(grid, several, name, shape.delimiter)
    return grid


def _refuse_swallowed(grid: Grid, several_lines: list[tuple[int, str]], name: str, delimiter: str) -> None:
    """Refuse a quoted field over several lines each of which looks like a row of its own.

    Two texts with an unpaired quote each, one at its start and one at its end, read like one long quoted
    field. What gives them away: every line of it has the right number of fields, and in one column values
    that other rows have too, as a label has.
    """
    width = grid.frame.width
    suspects = [(row, lines.split("\n")) for row, lines in several_lines]
    suspects = [
        (row, lines) for row, lines in suspects if all(_width(line, delimiter) == width for line in lines)
    ]
    if not suspects or width < 2:
        return
    whole = ~np.isin(grid.rows, [row for row, _ in several_lines])
    known = [set(grid.frame.to_series(column).filter(pl.Series(whole))) for column in range(width)]
    for row, lines in suspects:
        cells = [[cell.strip('"\r') for cell in line.split(delimiter)] for line in lines]
        if any(
            all(line[column] and line[column] in known[column] for line in cells) for column in range(width)
        ):
            raise DataError(
                f"{name}: row {row}: a quoted text of {len(lines)} lines, or {len(lines)} rows with unpaired "
                "quotation marks? Say --quoting csv for the first, --quoting none for the second."
            )


def _width(line: str, delimiter: str) -> int:
    return line.count(delimiter) + 1
