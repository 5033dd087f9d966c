"""What checks find in labelled texts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from finetext.errors import DataError

Severity = Literal["ok", "info", "warning", "error"]
FIRST_ROWS = 5
Places = Sequence[int | str]
"""The row of each example for a message; `file:row` where there are several files."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    count: int
    """How many texts it concerns; 0 if there is nothing to report."""
    first_rows: tuple[int | str, ...] = ()
    """The first rows concerned; `file:row` where there are several files."""
    detail: str = ""
    severity: Severity = "ok"
    """With an `error`, training is refused."""

    @property
    def line(self) -> str:
        """What, how many, where first, what it means."""
        rows = ", ".join(map(str, self.first_rows))
        more = ", …" if self.count > len(self.first_rows) else ""
        return f"{self.name}: {self.count:,} (rows {rows}{more}). {self.detail}"


@dataclass(frozen=True)
class Findings:
    """What the checks found, and statistics of the dataset."""

    items: tuple[Finding, ...] = ()
    examples: int = 0
    classes: tuple[tuple[str, int], ...] = ()
    """How many examples each class has, in id order."""
    splits: tuple[tuple[str, int], ...] = ()
    """How many examples each split of the source has; empty if it brings none."""
    characters: tuple[tuple[str, float], ...] = ()
    """Length of the texts in characters: min, median, mean, p95, max."""

    def __getitem__(self, name: str) -> Finding:
        return {item.name: item for item in self.items}[name]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings for which training is refused."""
        return tuple(item for item in self.items if item.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that the user should know of."""
        return tuple(item for item in self.items if item.severity == "warning")

    def with_finding(self, finding: Finding) -> "Findings":
        """Return these findings and one more."""
        return replace(self, items=(*self.items, finding))

    def refuse_errors(self, name: str) -> None:
        """Report all fatal findings together.

        Raises:
            DataError: There is at least one.
        """
        if self.errors:
            raise DataError(f"{name}: " + " ".join(finding.detail for finding in self.errors))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe values."""
        return {
            "examples": self.examples,
            "classes": dict(self.classes),
            "own_splits": dict(self.splits),
            "characters": dict(self.characters),
            "findings": [asdict(item) | {"first_rows": list(item.first_rows)} for item in self.items],
        }


def finding(
    name: str, indices: Sequence[int] | np.ndarray, places: Places, detail: str, severity: Severity
) -> Finding:
    """Make a finding about the examples at `indices`; a count of 0 if there are none."""
    if not len(indices):
        return Finding(name, 0)
    first = tuple(places[int(index)] for index in indices[:FIRST_ROWS])
    return Finding(name, len(indices), first, detail, severity)
