"""What a report is made of; the template knows these types and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

Figures = Mapping[str, Any]
"""What `metrics.json` holds, or a part of it."""


@dataclass(frozen=True)
class Number:
    """A figure in a table.

    Attributes:
        value: As it was computed; None where it is not defined.
        text: As it is shown.
        key: Where it stands in `metrics.json`, such as `test.accuracy`; empty if it does not.
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
    """A table; a long one scrolls inside its own box on a screen, a half one takes half the width there."""

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
    """What can be copied into a terminal."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Drawing:
    """A plot.

    Attributes:
        name: Of its files.
        title: What it shows.
        finding: What is to be seen in it, in words.
        svg: The file.
        png: The file.
    """

    kind: ClassVar[str] = "drawing"
    name: str
    title: str
    finding: str
    svg: str
    png: bytes

    @property
    def inline(self) -> str:
        """The SVG as the page holds it: its colours are the page's, its ids its own."""
        from finetext.reporting.svg import inline

        return inline(self.svg, self.name)


@dataclass(frozen=True)
class Statement:
    """How the model stands against one baseline.

    Attributes:
        verdict: better, worse, or no difference shown.
        against: The baseline.
        text: The test's outcome.
    """

    verdict: str
    against: str
    text: str

    @property
    def tone(self) -> str:
        """The CSS class that goes with the verdict."""
        return self.verdict if self.verdict in ("better", "worse") else "open"


@dataclass(frozen=True)
class Mistake:
    """A text that was labelled wrongly with confidence."""

    text: str
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Mistakes:
    """The most confident mistakes, the worst first."""

    kind: ClassVar[str] = "mistakes"
    items: tuple[Mistake, ...]


Block = Table | Paragraph | Code | Drawing | Mistakes


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """A whole report.

    Attributes:
        title: Data and model.
        subtitle: What was done with them.
        synthetic: Whether its figures say nothing about real texts.
        headline: The verdict in a sentence.
        tone: Its CSS class: better, worse or open.
        summary: The verdict's sentences.
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
    def drawings(self) -> tuple[Drawing, ...]:
        """Every plot in it."""
        return tuple(
            block for section in self.sections for block in section.blocks if isinstance(block, Drawing)
        )
