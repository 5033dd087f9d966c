"""Text in which some quotes enclose fields and others stand in the middle of one: read by a regular expression."""

import re
from dataclasses import dataclass

_ASCII_SPACE = " \t\n\r\x0b\x0c"
_UNCLOSED = re.compile(r'"[^"]*+(?:""[^"]*+)*+\Z')


@dataclass(frozen=True)
class StrayRows:
    """The rows of such a text."""

    values: list[list[str]]
    numbers: list[int]
    """Row of each, from 1; blank lines count."""
    several_lines: list[tuple[int, str]]
    """Row and text of those with a line break in an enclosed field."""
    total: int
    """Rows in all, blank lines included."""


def _field_pattern(delimiter: str) -> re.Pattern[str]:
    """Match a field and what ends it: quoted only if its closing quote stands at the field's border."""
    border = re.escape(delimiter)
    quoted = rf'"([^"]*+(?:""[^"]*+)*+)"(?={border}|\r?\n|\r?\Z)\r?'
    return re.compile(rf"(?:{quoted}|([^{border}\n]*+))({border}|\n|\Z)")


def split_fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of one row."""
    values = []
    for match in _field_pattern(delimiter).finditer(line):
        values.append(match[1].replace('""', '"') if match[1] is not None else match[2])
        if match[3] == "":
            break
    return values


def stray_rows(content: str, delimiter: str, crlf: bool, width: int | None) -> StrayRows:
    """Split a text into rows and fields.

    Args:
        content: The text; it starts with a row.
        delimiter: One ASCII character.
        crlf: Whether every line of the file ends in CR LF.
        width: Fields a row, if that is known; else those of the first row.
    """
    found = StrayRows([], [], [], 0)
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
        expected = width or (len(found.values[0]) if found.values else 1)
        line = content[start : match.end()].removesuffix("\n")
        blank = line in ("", "\r" if crlf else "")
        if not blank and (len(values) > 1 or expected == 1 or line.strip(_ASCII_SPACE)):
            found.values.append(values)
            found.numbers.append(row)
            if breaks:
                found.several_lines.append((row, line.rstrip("\r\n")))
        values, row, start, breaks = [], row + 1, match.end(), False
        if match[3] == "":
            break
    return StrayRows(found.values, found.numbers, found.several_lines, row - 1)


def stray_rows_end(content: str, delimiter: str) -> int:
    """Return the offset behind the last row that more text would not change; 0 if there is none.

    A quote that opens a field and is closed nowhere in the text may be closed in what follows.

    Args:
        content: Whole lines.
        delimiter: One ASCII character.
    """
    end = 0
    for match in _field_pattern(delimiter).finditer(content):
        if match[2] and match[2].startswith('"') and _UNCLOSED.match(content, match.start()):
            return end
        if match[3] == "\n":
            end = match.end()
    return end
