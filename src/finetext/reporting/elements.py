"""The elements of a report's sections; the template knows these types and no others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Number:
    """A number in a table.

    Attributes:
        value: Unrounded; None where it is not defined.
        text: As shown.
        key: Its path in `metrics.json`, such as `test.accuracy`, or for costs in `environment.json`; else empty.
        below: A second line, such as its interval.
        best: Whether it is the best of its row.
    """

    value: float | None
    text: str
    key: str = ""
    below: str = ""
    best: bool = False


Row = Sequence[str | Number]
"""A row of a table; the first cell names it."""


@dataclass(frozen=True)
class Table:
    """A table; on a screen a `long` one scrolls in its own box, and a `half` one takes half the width."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    note: str = ""
    marked: Collection[int] = ()
    """The rows that stand out."""
    long: bool = False
    half: bool = False


@dataclass(frozen=True)
class Code:
    """A command to copy into a terminal."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: Of its files.
        title: What it shows.
        finding: What it tells, in words.
        svg: The SVG file.
        png: The PNG file.
    """

    kind: ClassVar[str] = "plot"
    name: str
    title: str
    finding: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class Mistakes:
    """The most confident mistakes: the text, its true and its predicted label, and the confidence of each."""

    kind: ClassVar[str] = "mistakes"
    items: Sequence[tuple[str, str, str, float]]


Element = str | Table | Code | Plot | Mistakes
"""A string is a paragraph."""
