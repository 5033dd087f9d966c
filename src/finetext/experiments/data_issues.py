"""What is probably wrong with single examples, and the file that lists it."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.data import FIRST_ROWS, Dataset, Finding, Severity

KINDS: dict[str, tuple[Severity, str]] = {
    "label-error": (
        "warning",
        "The label is probably wrong: classifiers that have not seen the text contradict it.",
    ),
    "similar-conflict": ("warning", "Nearly the same as other texts, under another label."),
    "similar-text": ("info", "Nearly the same as other texts, which may come into other splits."),
    "outlier": ("info", "Far from all other texts."),
}
"""Kinds of faults in the order in which they are listed: how bad each is, and what it means."""


@dataclass(frozen=True)
class Fault:
    """An example that a person should look at.

    Attributes:
        kind: `label-error`; `similar-text`, or `similar-conflict` where its likes have other labels; `outlier`.
        index: Its place in the data set.
        row: Its row in the file.
        labels: Its labels.
        suggested: The labels that it probably should have; None where there is no suggestion.
        score: Of a label, how much it deserves trust, from 0; of similar texts, the cosine to the nearest; of an
            outlier, how typical it is, from 0.
        group: Row of the first of the similar texts; None for other kinds.
    """

    kind: str
    index: int
    row: int
    labels: tuple[str, ...]
    suggested: tuple[str, ...] | None
    score: float
    group: int | None = None


@dataclass(frozen=True)
class Faults:
    """What was found.

    Attributes:
        dataset: The examples.
        faults: Every flagged example, the most suspicious of a kind first.
        probs: `(N, C)`, the out-of-fold probabilities.
        quality: `(N,)`, how much each example's labels deserve trust, from 0 to 1; NaN where nothing can be said.
        notes: What the user should know.
    """

    dataset: Dataset
    faults: tuple[Fault, ...]
    probs: NDArray[np.float64]
    quality: NDArray[np.float64]
    notes: tuple[str, ...]

    def of(self, kind: str) -> list[Fault]:
        """Return the faults of a kind."""
        return [fault for fault in self.faults if fault.kind == kind]

    def findings(self) -> list[Finding]:
        """Return a line for each kind, as the other checks give it."""
        found = []
        for kind, (severity, detail) in KINDS.items():
            rows = [fault.row for fault in self.of(kind)]
            found.append(
                Finding(f"{kind}s", len(rows), tuple(rows[:FIRST_ROWS]), detail, severity)
                if rows
                else Finding(f"{kind}s", 0)
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return every flagged example, without its text, and the notes as JSON values."""
        rows = [
            {
                "kind": own.kind,
                "row": own.row,
                "labels": list(own.labels),
                "suggested": None if own.suggested is None else list(own.suggested),
                "score": own.score,
                "group": own.group,
            }
            for own in self.faults
        ]
        return {"notes": list(self.notes), "faults": rows}

    def write_csv(self, path: Path) -> None:
        """Write every flagged example: kind, row, label, suggested label, score, group, text, and its own split."""
        given = self.dataset.given_splits
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        names = ["kind", "row", "label", "suggested_label", "score", "group", "text"]
        writer.writerow(names if given is None else [*names, "split"])
        for own in self.faults:
            suggested = "" if own.suggested is None else "|".join(own.suggested)
            group = "" if own.group is None else own.group
            cells = [own.kind, own.row, "|".join(own.labels), suggested, f"{own.score:.6g}", group]
            split = [] if given is None else [given[own.index]]
            writer.writerow([*cells, self.dataset.texts[own.index], *split])
        files.write_text(path, text.getvalue())
