"""Lossless reading of comma- and tab-separated text.

Common readers let an unpaired quotation mark swallow rows. Here all of the file is looked through first and one of two
readings is chosen for it: quotation marks are plain characters, or they enclose a field where they stand at both of its
ends. Polars then takes the fields where it reads the text exactly so, a regular expression where it does not.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from finetext.data.config import DataConfig
from finetext.data.readers.batches import Cells, NumberedBatch, RowBatch, Rows
from finetext.data.readers.decode import Content
from finetext.data.readers.fields import Dialect, Parsed, parse
from finetext.data.readers.sniff import choose_dialect
from finetext.errors import DataError

MAX_ROW_BYTES = 32 << 20
"""Length of a row beyond which a quotation mark that is not closed is a plain character."""


# Opening a file -----------------------------------------------------------------------------------


def open_delimited(content: Content, config: DataConfig, format: str) -> Rows:
    """Look through delimited text and get ready to read it.

    Raises:
        DataError: A row has more or fewer fields than the first, the quotation marks can be read in two ways, or
            there are no rows.
    """
    name = content.name
    line_ends = count_line_ends(content.known())
    if line_ends.only_returns:
        content = content.with_unix_lines()
        line_ends = count_line_ends(content.known())
    format, delimiter, quoting = choose_dialect(content.head, name, format, config)
    dialect, height = _settle(content, line_ends, delimiter, quoting)
    first = next(_read(content.known(), dialect, name, ended=not content.open_ended), None)
    headerless = format == "two-column"
    if first is None:
        raise DataError(f"{name}: the file is empty.")
    if headerless and first.frame.width != 2:
        raise DataError(
            f"{name}: {first.frame.width} tab-separated columns where a file without a header has two, label "
            "and text. Say what it is with --format, or give it a header line."
        )
    columns = first.frame.columns if headerless else _name_columns(first.frame.row(0))
    header = 0 if headerless else 1

    def read(cells: Cells, column: str | None) -> Iterator[NumberedBatch]:
        skip = header
        for parsed in _read(content.chunks(), dialect, name):
            frame = parsed.frame.slice(skip)
            frame.columns = columns
            yield RowBatch(frame), parsed.numbers[skip:]
            skip = 0

    sample = first.frame.rename(dict(zip(first.frame.columns, columns, strict=True)))
    return Rows(name, format, sample, None if content.open_ended else height - header, read, headerless)


def _name_columns(header: Iterable[str]) -> list[str]:
    """Return column names none of which is empty or occurs twice."""
    names: list[str] = []
    for position, name in enumerate(header, start=1):
        name = name.strip("\r \t\ufeff") or f"column {position}"
        names.append(name if name not in names else f"{name} (column {position})")
    return names


@dataclass(frozen=True)
class LineEnds:
    """What the bytes of a file say about its lines."""

    quotes: bool
    """Whether there is any quotation mark."""
    crlf: bool
    """Whether every line ends in CR LF."""
    crlf_outside_quotes: bool
    """The same for lines that do not end between quotation marks."""
    only_returns: bool
    """Whether lines end in CR alone, as on old Macs."""


def count_line_ends(chunks: Iterable[bytes]) -> LineEnds:
    """Look through a file, given in chunks of any size."""
    feeds = returned = outside_feeds = outside_returned = returns = quotes = 0
    held = b""
    for chunk in chunks:
        text = held + chunk
        held = text[-1:] if text.endswith(b"\r") else b""  # its LF may follow
        text = text.removesuffix(held)
        outside = b'"'.join(text.split(b'"')[quotes % 2 :: 2])
        feeds += text.count(b"\n")
        returned += text.count(b"\r\n")
        outside_feeds += outside.count(b"\n")
        outside_returned += outside.count(b"\r\n")
        returns += text.count(b"\r")
        quotes += text.count(b'"')
    return LineEnds(
        quotes=quotes > 0,
        crlf=0 < feeds == returned,
        crlf_outside_quotes=0 < outside_feeds == outside_returned,
        only_returns=not feeds and returns + len(held) > 1,
    )


# Choosing a reading -------------------------------------------------------------------------------


@dataclass
class _Survey:
    """What one reading makes of a file."""

    dialect: Dialect
    height: int = 0
    uneven: int = 0
    first_uneven: tuple[int, int] = (0, 0)
    well_formed: bool = True
    swallowed: DataError | None = None


def _survey(content: Content, dialect: Dialect, *, strict: bool = False) -> _Survey:
    """Look through all that is known; if `strict`, only until a quotation mark is out of place."""
    survey = _Survey(dialect)
    for parsed in _parse(content.known(), dialect, ended=not content.open_ended):
        if survey.dialect.width is None:
            survey.dialect = replace(dialect, width=parsed.frame.width)
        if parsed.uneven and not survey.uneven:
            survey.first_uneven = parsed.uneven[0]
        survey.height += parsed.frame.height
        survey.uneven += len(parsed.uneven)
        survey.well_formed &= parsed.well_formed
        if strict and not survey.well_formed:
            break
        survey.swallowed = survey.swallowed or _find_swallowed(parsed, dialect, content.name)
    return survey


def _settle(
    content: Content, line_ends: LineEnds, delimiter: str, quoting: Literal["auto", "csv", "none"]
) -> tuple[Dialect, int]:
    """Choose a reading by looking through all that is known; return it with the number of rows.

    Raises:
        DataError: A row has more or fewer fields than the first, or the quotation marks can be read in two ways.
    """
    plain = Dialect(delimiter, False, line_ends.crlf)
    quoted = Dialect(delimiter, True, line_ends.crlf_outside_quotes, refuse_swallowed=quoting == "auto")
    if quoting == "none" or not line_ends.quotes:
        survey = _survey(content, plain)
    else:
        survey = _survey(content, quoted, strict=True)
        if quoting == "auto" and (survey.uneven or not survey.well_formed):
            as_plain = _survey(content, plain)
            survey = survey if as_plain.uneven else as_plain
        if not survey.well_formed:
            survey = _survey(content, replace(quoted, crlf=line_ends.crlf))
    if survey.uneven:
        raise _uneven(content.name, survey.dialect, *survey.first_uneven, survey.uneven)
    if survey.swallowed is not None:
        raise survey.swallowed
    dialect = survey.dialect
    if content.open_ended and quoting != "none" and not line_ends.quotes:
        dialect = replace(dialect, quoted=True, refuse_swallowed=quoting == "auto")  # some may follow
    return dialect, survey.height


def _uneven(name: str, dialect: Dialect, row: int, width: int, count: int) -> DataError:
    more = f" ({count} such rows)" if count > 1 else ""
    return DataError(
        f"{name}: row {row} has {width} {'field' if width == 1 else 'fields'} where the first row has "
        f"{dialect.width}{more}. Correct it; if quotation marks are the reason, try --quoting csv or none."
    )


def _find_swallowed(parsed: Parsed, dialect: Dialect, name: str) -> DataError | None:
    """Find a quoted field over several lines each of which looks like a row of its own.

    Two texts with an unpaired quotation mark each, one at its start and one at its end, read like one long quoted
    field. What gives them away: every line of it has the right number of fields and, in one column, a value that
    other rows have there too, as a label has.
    """
    frame, width = parsed.frame, parsed.frame.width
    if not dialect.refuse_swallowed or width < 2 or parsed.uneven:
        return None
    broken = frame.select(pl.any_horizontal(pl.all().str.contains("\n", literal=True))).to_series()
    suspects = []
    for row, values in zip(parsed.numbers[broken.to_numpy()], frame.filter(broken).iter_rows(), strict=True):
        lines = [line.split(dialect.delimiter) for line in dialect.delimiter.join(values).split("\n")]
        if all(len(cells) == width for cells in lines):
            suspects.append((row, lines))
    known = [set(column) for column in frame.filter(~broken)] if suspects else []
    for row, lines in suspects:
        columns = [[cell.strip('"\r') for cell in cells] for cells in zip(*lines, strict=True)]
        if any(all(cells) and known[index].issuperset(cells) for index, cells in enumerate(columns)):
            return DataError(
                f"{name}: row {row}: a quoted text of {len(lines)} lines, or {len(lines)} rows with unpaired "
                "quotation marks? Say --quoting csv for the first, --quoting none for the second."
            )
    return None


# Taking the fields --------------------------------------------------------------------------------


def _read(chunks: Iterable[bytes], dialect: Dialect, name: str, *, ended: bool = True) -> Iterator[Parsed]:
    """Yield the rows of a file whose reading is settled.

    Raises:
        DataError: A stream, which could not be looked through, has a row that is not as those before it.
    """
    for parsed in _parse(chunks, dialect, ended=ended):
        if parsed.uneven:
            raise _uneven(name, dialect, *parsed.uneven[0], len(parsed.uneven))
        if swallowed := _find_swallowed(parsed, dialect, name):
            raise swallowed
        yield parsed


def _parse(chunks: Iterable[bytes], dialect: Dialect, *, ended: bool) -> Iterator[Parsed]:
    """Split a file into rows and fields, chunk by chunk.

    Args:
        chunks: The file from its start.
        dialect: How rows and fields are told apart.
        ended: Whether that is all of it; if not, a last row that is cut off is left out, unless it is the first.
    """
    held, before = b"", 0
    for chunk in itertools.chain(chunks, [b""]):  # the empty one ends it
        held += chunk
        last = not chunk and (ended or not before)
        text = held if last else held[: held.rfind(b"\n") + 1]
        if not text:
            continue
        parsed, taken = parse(text, dialect, final=last)
        if not taken and len(held) > MAX_ROW_BYTES:
            parsed, taken = parse(text, dialect, final=True)
        held = held[taken:]
        if parsed.frame.height or parsed.uneven:
            dialect = replace(dialect, width=parsed.frame.width)
            yield replace(
                parsed,
                numbers=parsed.numbers + before,
                uneven=tuple((row + before, width) for row, width in parsed.uneven),
            )
        before += parsed.total
