"""Lossless reading of comma- and tab-separated text.

Common readers let an unpaired quotation mark swallow lines. Here the structure of the file is settled
first, by the positions of quotes, separators and line ends; only then are the fields taken, by Polars
where it reads that structure exactly, else by a regular expression.
"""

import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from finetext.errors import DataError

Quoting = Literal["auto", "csv", "none"]
QUOTE, NEWLINE, RETURN = 34, 10, 13


@dataclass(frozen=True)
class Grid:
    """The fields of a file, all rows of one width, blank lines left out."""

    frame: pl.DataFrame
    rows: np.ndarray
    """Row of each line of `frame` in the file, from 1; blank lines count, a quoted line break does not."""


@dataclass(frozen=True)
class Layout:
    """Where rows end and how many fields each holds, under one reading of the quotation marks."""

    starts: np.ndarray
    ends: np.ndarray
    """Offset just behind the last byte of each row, line end not included."""
    widths: np.ndarray
    well_formed: bool
    """Whether each quoted field starts and ends at a field border and no other field holds a quote."""
    crlf: bool
    """Whether every line ends in CR LF."""

    @property
    def blank(self) -> np.ndarray:
        """Which rows are empty."""
        return np.asarray(self.ends == self.starts)


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
    buffer = np.frombuffer(_unix_lines(content), dtype=np.uint8)
    plain = _scan(buffer, delimiter, quoted=False)
    if quoting == "none" or not (buffer == QUOTE).any():
        return _read_settled(buffer, plain, name, delimiter, quoted=False)
    strict = _scan(buffer, delimiter, quoted=True)
    if strict.well_formed and (_even(strict, buffer) or quoting == "csv" or not _even(plain, buffer)):
        grid = _read_settled(buffer, strict, name, delimiter, quoted=True)
        if quoting == "auto" and len(strict.ends) < len(plain.ends):
            several = np.flatnonzero(_count_between(buffer == NEWLINE, strict.starts, strict.ends))
            spans = [(int(row) + 1, buffer[strict.starts[row] : strict.ends[row]]) for row in several]
            _refuse_swallowed(grid, [(row, bytes(span).decode()) for row, span in spans], name, delimiter)
        return grid
    if quoting == "auto" and _even(plain, buffer):
        return _read_settled(buffer, plain, name, delimiter, quoted=False)
    return _read_stray_quotes(buffer, name, delimiter, careful=quoting == "auto")


def _unix_lines(content: bytes) -> bytes:
    """Let CR end lines in a file that has no LF, as old Macs wrote it."""
    if b"\n" not in content and content.count(b"\r") > 1:
        return content.replace(b"\r", b"\n")
    return content


def _count_between(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    positions = np.flatnonzero(mask)
    return np.asarray(np.searchsorted(positions, ends) - np.searchsorted(positions, starts))


def _scan(buffer: np.ndarray, delimiter: str, quoted: bool) -> Layout:
    newlines = np.flatnonzero(buffer == NEWLINE)
    borders = np.flatnonzero(buffer == ord(delimiter))
    well_formed = True
    if quoted:
        quotes = np.flatnonzero(buffer == QUOTE)
        newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        borders = borders[np.searchsorted(quotes, borders) % 2 == 0]
        well_formed = _well_formed(buffer, quotes, ord(delimiter))
    crlf = bool(newlines.size) and bool((newlines > 0).all()) and bool((buffer[newlines - 1] == RETURN).all())
    starts = np.concatenate([[0], newlines + 1]).astype(np.int64)
    ends = np.concatenate([newlines - int(crlf), [buffer.size]]).astype(np.int64)
    if starts[-1] == buffer.size:  # the last line is ended, no row follows it
        starts, ends = starts[:-1], ends[:-1]
    widths = np.searchsorted(borders, ends) - np.searchsorted(borders, starts) + 1
    return Layout(starts, ends, widths, well_formed, crlf)


def _well_formed(buffer: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    if quotes.size % 2:
        return False
    padded = np.concatenate([[NEWLINE], buffer, [NEWLINE, NEWLINE]])  # padded[i + 1] is buffer[i]
    opening, closing = quotes[0::2], quotes[1::2]
    before, after = padded[opening], padded[closing + 2]
    escaped = np.zeros(opening.size, dtype=bool)  # an opening right behind a closing: a doubled quote
    escaped[1:] = opening[1:] == closing[:-1] + 1
    opens = (before == delimiter) | (before == NEWLINE) | escaped
    line_end = (after == NEWLINE) | ((after == RETURN) & (padded[closing + 3] == NEWLINE))
    closes = (after == delimiter) | line_end
    closes[:-1] |= escaped[1:]
    return bool(opens.all() and closes.all())


def _filled(layout: Layout, buffer: np.ndarray) -> np.ndarray:
    """Return which rows hold anything: not the empty ones, nor, of several columns, those of white space."""
    filled = ~layout.blank
    if filled.any() and (width := layout.widths[filled][0]) > 1:
        for row in np.flatnonzero(filled & (layout.widths != width) & (layout.widths == 1)):
            span = bytes(buffer[layout.starts[row] : layout.ends[row]])
            filled[row] = bool(span.strip())
    return np.asarray(filled)


def _even(layout: Layout, buffer: np.ndarray) -> bool:
    widths = layout.widths[_filled(layout, buffer)]
    return bool((widths == widths[:1]).all())


def _refuse_uneven(widths: np.ndarray, rows: np.ndarray, name: str) -> None:
    uneven = np.flatnonzero(widths != widths[:1])
    if uneven.size:
        row, width = rows[uneven[0]], widths[uneven[0]]
        more = f" ({uneven.size} such rows)" if uneven.size > 1 else ""
        raise DataError(
            f"{name}: row {row} has {width} {'field' if width == 1 else 'fields'} where the first row has "
            f"{widths[0]}{more}. Mend it; if quotation marks are the reason, try --quoting csv or none."
        )


def _read_settled(buffer: np.ndarray, layout: Layout, name: str, delimiter: str, quoted: bool) -> Grid:
    filled = _filled(layout, buffer)
    rows = np.flatnonzero(filled) + 1
    _refuse_uneven(layout.widths[filled], rows, name)
    width = int(layout.widths[filled][0]) if rows.size else 0
    if not width:
        return Grid(pl.DataFrame(), rows)
    line_ends = int(layout.crlf) * int((buffer == NEWLINE).sum())
    returns_are_line_ends = int((buffer == RETURN).sum()) == line_ends
    if returns_are_line_ends and (not quoted or layout.well_formed):
        frame = pl.read_csv(
            io.BytesIO(buffer.tobytes()),
            has_header=False,
            schema={f"column {index + 1}": pl.String for index in range(width)},
            separator=delimiter,
            quote_char='"' if quoted else None,
            empty_string_is_null=False,
            missing_columns="insert",  # for the blank lines, which are left out below
        )
        if frame.height == filled.size:
            return Grid(frame if filled.all() else frame.filter(pl.Series(filled)), rows)
    spans = [(int(layout.starts[row - 1]), int(layout.ends[row - 1])) for row in rows]
    content = buffer.tobytes()
    lines = [content[start:end].decode() for start, end in spans]
    table = [_fields(line, delimiter) if quoted else line.split(delimiter) for line in lines]
    return Grid(_to_frame(table, width), rows)


def _to_frame(table: list[list[str]], width: int) -> pl.DataFrame:
    columns = zip(*table, strict=True)
    series = [pl.Series(f"column {i + 1}", values, dtype=pl.String) for i, values in enumerate(columns)]
    return pl.DataFrame(series) if series else pl.DataFrame(schema=[f"column {i + 1}" for i in range(width)])


def _field_pattern(delimiter: str) -> re.Pattern[str]:
    """Match a field and what ends it: quoted only if its closing quote stands at the field's border."""
    border = re.escape(delimiter)
    quoted = rf'"([^"]*+(?:""[^"]*+)*+)"(?={border}|\r?\n|\r?\Z)\r?'
    return re.compile(rf"(?:{quoted}|([^{border}\n]*+))({border}|\n|\Z)")


def _fields(line: str, delimiter: str) -> list[str]:
    values = []
    for match in _field_pattern(delimiter).finditer(line):
        values.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        if match[3] == "":
            break
    return values


def _read_stray_quotes(buffer: np.ndarray, name: str, delimiter: str, careful: bool) -> Grid:
    """Read a file in which some quotes enclose fields and others stand in the middle of a text."""
    content = buffer.tobytes().decode()
    crlf = content.count("\r\n") == content.count("\n") > 0
    table: list[list[str]] = []
    rows: list[int] = []
    several_lines: list[tuple[int, str]] = []
    values: list[str] = []
    row, start, breaks = 1, 0, False
    for match in _field_pattern(delimiter).finditer(content):
        if match.start() == match.end() == len(content) and not values and start == len(content):
            break
        if match[1] is not None:
            values.append(match[1].replace('""', '"'))
            breaks = breaks or "\n" in match[1]
        else:
            values.append(match[2].removesuffix("\r") if crlf and match[3] != delimiter else match[2])
        if match[3] == delimiter:
            continue
        if len(values) > 1 or values[0].strip() or (values[0] and table and len(table[0]) == 1):
            table.append(values)
            rows.append(row)
            if breaks:
                several_lines.append((row, content[start : match.end()].rstrip("\r\n")))
        values, row, start, breaks = [], row + 1, match.end(), False
        if match[3] == "":
            break
    numbers = np.asarray(rows, dtype=np.int64)
    _refuse_uneven(np.asarray([len(values) for values in table]), numbers, name)
    grid = Grid(_to_frame(table, len(table[0]) if table else 0), numbers)
    if careful:
        _refuse_swallowed(grid, several_lines, name, delimiter)
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
