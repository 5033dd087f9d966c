"""The elements of a report; the template knows these types and no others."""

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


Cell = str | Number


@dataclass(frozen=True)
class Row:
    """A row of a table; the first cell names it."""

    cells: tuple[Cell, ...]
    marked: bool = False


@dataclass(frozen=True)
class Table:
    """A table; on a screen a `long` one scrolls in its own box, and a `half` one takes half the width."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    long: bool = False
    half: bool = False


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    kind: ClassVar[str] = "paragraph"
    text: str


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
class Statement:
    """The comparison with one baseline.

    Attributes:
        verdict: better, worse, or no difference shown.
        against: The baseline.
        text: The outcome of the test.
    """

    verdict: str
    against: str
    text: str

    @property
    def tone(self) -> str:
        """The CSS class of the verdict."""
        return self.verdict if self.verdict in ("better", "worse") else "open"


@dataclass(frozen=True)
class Mistake:
    """A text that was labelled wrongly with confidence."""

    text: str
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class MistakeList:
    """The most confident mistakes, the most confident first."""

    kind: ClassVar[str] = "mistakes"
    items: tuple[Mistake, ...]


Element = Table | Paragraph | Code | Plot | MistakeList


@dataclass(frozen=True)
class Section:
    """A heading and its elements."""

    name: str
    title: str
    elements: tuple[Element, ...]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Data and model.
        subtitle: Task and sizes.
        synthetic: Whether the texts were made up.
        headline: The verdict in a sentence.
        tone: Its CSS class: better, worse or open.
        summary: The sentences under the headline.
        statements: The comparisons behind it.
        sections: Everything else.
        version: Of finetext; empty if the folder does not say.
    """

    title: str
    subtitle: str
    synthetic: bool
    headline: str
    tone: str
    summary: tuple[str, ...]
    statements: tuple[Statement, ...]
    sections: tuple[Section, ...]
    version: str

    @property
    def plots(self) -> tuple[Plot, ...]:
        """Every plot in it."""
        return tuple(item for section in self.sections for item in section.elements if isinstance(item, Plot))
