"""Labelling a table: every column and row kept, the predictions beside them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.data import Cells, RowBatch, Rows
from finetext.decision import confidence
from finetext.engine import Encoded
from finetext.inference.classifier import Classifier
from finetext.inference.prefetch import ahead
from finetext.inference.row_batches import windows

PREDICTED, SCORE = "predicted", "score"
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Labelled:
    """Some rows and their predictions."""

    block: RowBatch
    added: pl.DataFrame
    """The columns `predicted` and `score`, and one a class if they were asked for."""
    empty: int
    """Rows without text, whose prediction is empty."""
    abstained: int
    """Rows on which the classifier abstains, which have a score and no prediction."""

    @property
    def table(self) -> pl.DataFrame:
        """The input's columns and the added ones."""
        return pl.concat([self.block.frame, self.added], how="horizontal")


@dataclass(frozen=True)
class _Encoded:
    """A window whose texts are token ids by now."""

    block: RowBatch
    present: NDArray[np.int64]
    """Which rows have a text."""
    texts: list[Encoded]


def predict_table(
    classifier: Classifier,
    frame: pl.DataFrame,
    text_column: str,
    *,
    all_scores: bool = False,
    progress: Advance | None = None,
) -> tuple[pl.DataFrame, int, int]:
    """Label the texts of a table in memory.

    Args:
        classifier: A classifier.
        frame: The table.
        text_column: Name of the column with the texts.
        all_scores: Add the probability of each class too.
        progress: Called with the number of rows done since the last call.

    Returns:
        The table with the columns `predicted` and `score` (and `prob_CLASS`) added, the number of rows without
        text, whose prediction is empty, and the number of rows on which the classifier abstains, which have a score
        and no prediction. A column of the input that has such a name keeps it, and the new one gets a `_2`.
    """
    names = added_names(classifier, frame.columns, all_scores=all_scores)
    encoded = _encode(classifier, RowBatch(frame), text_column)
    labelled = _label(classifier, encoded, names, all_scores, progress)
    return labelled.table, labelled.empty, labelled.abstained


def predict_rows(
    classifier: Classifier,
    rows: Rows,
    *,
    all_scores: bool = False,
    cells: Cells = "typed",
    skip: int = 0,
    progress: Advance | None = None,
) -> Iterator[Labelled]:
    """Label the rows of a file of any size, a window at a time; the next one is read while the model runs.

    Args:
        classifier: A classifier.
        rows: The file.
        all_scores: Add the probability of each class too.
        cells: What is wanted of JSON Lines: numbers, numbers as they are written, or the lines as they stand.
        skip: Rows to leave out at the start.
        progress: Called with the number of rows done since the last call.

    Yields:
        The rows of each window with their predictions, in their order, at least once.
    """
    names = added_names(classifier, rows.columns, all_scores=all_scores)
    encoded = (_encode(classifier, block, rows.text_column) for block in windows(rows.batches(cells), skip))
    for window in ahead(encoded):
        yield _label(classifier, window, names, all_scores, progress)


def added_names(classifier: Classifier, taken: Sequence[str], *, all_scores: bool) -> list[str]:
    """Return the names of the columns that labelling adds: those of the input keep theirs."""
    wanted = [PREDICTED, SCORE]
    if all_scores:
        wanted += [f"prob_{name}" for name in classifier.class_names]
    names: list[str] = []
    for name in wanted:
        names.append(free_name(name, [*taken, *names]))
    return names


def free_name(name: str, taken: Sequence[str]) -> str:
    """Return a name, with a number behind it if it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def _encode(classifier: Classifier, block: RowBatch, text_column: str) -> _Encoded:
    texts = block.frame[text_column].cast(pl.String).to_list()
    present = [row for row, text in enumerate(texts) if text is not None and text.strip()]
    encoded = classifier.encode([texts[row] for row in present])
    return _Encoded(block, np.asarray(present, dtype=np.int64), encoded)


def _label(
    classifier: Classifier, window: _Encoded, names: list[str], all_scores: bool, progress: Advance | None
) -> Labelled:
    height, present = window.block.frame.height, window.present
    probs = classifier.score(window.texts, progress=progress)
    if progress is not None:
        progress(height - len(present))
    labels: list[str | None] = [None] * height
    for row, chosen in zip(present, classifier.decide_all(probs), strict=True):
        labels[row] = "|".join(chosen) if chosen or classifier.task == "multi-label" else None
    figures = np.full((height, 1 + probs.shape[1]), np.nan)
    if len(present):
        figures[present, 0] = confidence(probs, classifier.task, classifier.decision)
        figures[present, 1:] = probs
    shown = figures if all_scores else figures[:, :1]
    added = [pl.Series(names[0], labels, dtype=pl.String)]
    for name, column in zip(names[1:], shown.T, strict=True):
        added.append(pl.Series(name, column, dtype=pl.Float64).fill_nan(None))
    without = sum(labels[row] is None for row in present)
    return Labelled(window.block, pl.DataFrame(added), height - len(present), without)
