"""Issues of single examples, such as a label that is probably wrong, and the file that lists them."""

import dataclasses
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
    "similar-text": ("info", "Nearly the same as other texts, which may end up in other splits."),
    "outlier": ("info", "Far from all other texts."),
}
"""Kinds of issues in the order in which they are listed: how severe each is, and what it means."""


@dataclass(frozen=True)
class Issue:
    """An example that a person should look at.

    Attributes:
        kind: `label-error`; `similar-text`, or `similar-conflict` if its near-duplicates have other labels; `outlier`.
        index: Its index in the dataset.
        row: Its row in the file.
        labels: Its labels.
        suggested: The labels that it probably should have; None if there is no suggestion.
        score: From 0: for a label error, the quality of the label; for an outlier, how typical it is. For
            near-duplicates, the cosine to the nearest one.
        group: Row of the first of the near-duplicates; None for other kinds.
    """

    kind: str
    index: int
    row: int
    labels: tuple[str, ...]
    suggested: tuple[str, ...] | None
    score: float
    group: int | None = None


@dataclass(frozen=True)
class DataIssues:
    """The issues of a dataset.

    Attributes:
        dataset: The examples.
        issues: Every flagged example, the most suspicious of a kind first.
        probs: `(N, C)`, the out-of-fold probabilities.
        quality: `(N,)`, the quality of each example's labels, from 0 to 1; NaN where its classes are too rare.
        notes: What the user should know.
    """

    dataset: Dataset
    issues: tuple[Issue, ...]
    probs: NDArray[np.float64]
    quality: NDArray[np.float64]
    notes: tuple[str, ...]

    def of(self, kind: str) -> list[Issue]:
        """Return the issues of a kind."""
        return [issue for issue in self.issues if issue.kind == kind]

    def findings(self) -> list[Finding]:
        """Return a finding for each kind, like those of the other checks."""
        findings = []
        for kind, (severity, detail) in KINDS.items():
            rows = tuple(issue.row for issue in self.of(kind))
            about = (rows[:FIRST_ROWS], detail, severity) if rows else ()
            findings.append(Finding(f"{kind}s", len(rows), *about))
        return findings

    def to_dict(self) -> dict[str, Any]:
        """Return every flagged example, without its text, and the notes as JSON values."""
        issues = [dataclasses.asdict(issue) for issue in self.issues]
        for issue in issues:
            del issue["index"]
        return {"notes": list(self.notes), "faults": issues}

    def write_csv(self, path: Path) -> None:
        """Write every flagged example with its text and, if the source has splits, the one that it belongs to."""
        splits = self.dataset.given_splits
        header = ["kind", "row", "label", "suggested_label", "score", "group", "text"]
        rows = []
        for issue in self.issues:
            labels, suggested = "|".join(issue.labels), "|".join(issue.suggested or ())
            text = self.dataset.texts[issue.index]
            row = [issue.kind, issue.row, labels, suggested, f"{issue.score:.6g}", issue.group, text]
            rows.append(row if splits is None else [*row, splits[issue.index]])
        files.write_csv(path, header if splits is None else [*header, "split"], rows)
