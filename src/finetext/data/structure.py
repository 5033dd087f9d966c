"""Where the rows and fields of delimited text lie: what is counted before any field is taken."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

QUOTE, NEWLINE, RETURN = 34, 10, 13


@dataclass(frozen=True)
class Marks:
    """What a look at the bytes alone says about a whole file."""

    quotes: bool = False
    """Whether there is any quotation mark."""
    crlf: bool = False
    """Whether every line ends in CR LF."""
    quoted_crlf: bool = False
    """The same, line ends between quotation marks aside."""
    only_returns: bool = False
    """Whether lines end in CR alone, as old Macs wrote them."""
    ends_returned: bool = True
    """Like `crlf`, but also true of a single line."""
    lines: int = 0
    """Lines, the last one even if nothing ends it."""


def count_marks(chunks: Iterable[bytes]) -> Marks:
    """Look through a file, given in chunks of any size."""
    feeds = returned = outside = outside_returned = returns = 0
    odd, last = 0, 0
    any_quote = False
    for chunk in chunks:
        buffer = np.frombuffer(chunk, dtype=np.uint8)
        places = np.flatnonzero(buffer == NEWLINE)
        quotes = np.flatnonzero(buffer == QUOTE)
        after_return = np.concatenate([[last], buffer])[places] == RETURN
        free = (np.searchsorted(quotes, places) + odd) % 2 == 0
        feeds += places.size
        returned += int(after_return.sum())
        outside += int(free.sum())
        outside_returned += int((free & after_return).sum())
        returns += chunk.count(b"\r")
        any_quote = any_quote or bool(quotes.size)
        odd = (odd + quotes.size) % 2
        last = int(buffer[-1]) if buffer.size else last
    return Marks(
        quotes=any_quote,
        crlf=0 < feeds == returned,
        quoted_crlf=0 < outside == outside_returned,
        only_returns=not feeds and returns > 1,
        ends_returned=feeds == returned,
        lines=feeds + (last not in (0, NEWLINE)),
    )


def unix_lines(content: bytes) -> bytes:
    """Return text whose lines end in CR with LF in their place."""
    return content.replace(b"\r", b"\n")


@dataclass(frozen=True)
class Layout:
    """Where rows end and how many fields each holds, under one reading of the quotation marks."""

    starts: np.ndarray
    ends: np.ndarray
    """Offset just behind the last byte of each row, line end not included."""
    widths: np.ndarray
    well_formed: bool
    """Whether each quoted field starts and ends at a field border and no other field holds a quote."""
    breaks_inside: bool
    """Whether a field holds a line break."""

    @property
    def blank(self) -> np.ndarray:
        """Which rows are empty."""
        return np.asarray(self.ends == self.starts)

    def filled(self, buffer: np.ndarray, width: int | None) -> np.ndarray:
        """Return which rows hold anything: not the empty ones, nor, of several columns, those of white space.

        Args:
            buffer: The text that was laid out.
            width: Fields a row; by default those of the first row that is not empty.
        """
        filled = ~self.blank
        if not filled.any():
            return np.asarray(filled)
        width = width or int(self.widths[filled][0])
        if width > 1:
            for row in np.flatnonzero(filled & (self.widths != width) & (self.widths == 1)):
                filled[row] = bool(bytes(buffer[self.starts[row] : self.ends[row]]).strip())
        return np.asarray(filled)


def lay_out(buffer: np.ndarray, delimiter: str, quoted: bool, crlf: bool) -> Layout:
    """Find the rows and fields of a text that starts with a row.

    Args:
        buffer: UTF-8, `(B,)` uint8.
        delimiter: One ASCII character.
        quoted: Whether quotation marks enclose fields.
        crlf: Whether a CR before a line end belongs to it.
    """
    every = newlines = np.flatnonzero(buffer == NEWLINE)
    borders = np.flatnonzero(buffer == ord(delimiter))
    well_formed = True
    if quoted:
        quotes = np.flatnonzero(buffer == QUOTE)
        newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        borders = borders[np.searchsorted(quotes, borders) % 2 == 0]
        well_formed = _well_formed(buffer, quotes, ord(delimiter))
    starts = np.concatenate([[0], newlines + 1]).astype(np.int64)
    ends = np.concatenate([newlines, [buffer.size]]).astype(np.int64)
    if crlf and newlines.size:
        ends[:-1] -= (newlines > 0) & (buffer[newlines - 1] == RETURN)
    if starts[-1] == buffer.size:  # the last line is ended, no row follows it
        starts, ends = starts[:-1], ends[:-1]
    widths = np.searchsorted(borders, ends) - np.searchsorted(borders, starts) + 1
    return Layout(starts, ends, widths, well_formed, breaks_inside=newlines.size < every.size)


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


def count_between(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return how many places of a mask lie in each span."""
    positions = np.flatnonzero(mask)
    return np.asarray(np.searchsorted(positions, ends) - np.searchsorted(positions, starts))


def rows_end(held: bytes, quoted: bool) -> int:
    """Return the offset behind the last whole row of a text that starts with a row; 0 if there is none."""
    newline = held.rfind(b"\n")
    if not quoted:
        return newline + 1
    odd = held.count(b'"', 0, max(newline, 0)) % 2
    while newline >= 0 and odd:
        before = held.rfind(b"\n", 0, newline)
        odd = (odd + held.count(b'"', before + 1, newline)) % 2
        newline = before
    return newline + 1
