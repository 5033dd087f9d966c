"""Labelling the rows of a file: every column and row kept, the predictions beside them."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.data import Cells, RowBatch, Rows
from finetext.decision import confidence
from finetext.engine import Encoded
from finetext.inference.classifier import Classifier
from finetext.inference.prefetch import prefetch
from finetext.inference.row_batches import row_batches

PREDICTED, SCORE = "predicted", "score"
RowsDone = Callable[[int, int | None], None]
"""Receives the rows done and the rows in all, None if that is not known."""


@dataclass(frozen=True)
class LabelledRows:
    """Rows and their predictions."""

    block: RowBatch
    predictions: pl.DataFrame
    """The columns `predicted` and `score`, and one per class with `all_scores`."""
    empty: int
    """Rows without text, whose prediction is empty."""
    abstained: int
    """Rows on which the classifier abstains, which have a score and no prediction."""

    @property
    def table(self) -> pl.DataFrame:
        """The input's columns and those of the predictions."""
        return pl.concat([self.block.frame, self.predictions], how="horizontal")


def predict_rows(
    classifier: Classifier,
    rows: Rows,
    *,
    all_scores: bool = False,
    cells: Cells = "typed",
    skip: int = 0,
    progress: RowsDone | None = None,
) -> Iterator[LabelledRows]:
    """Label the rows of a file of any size in batches; the next one is read and tokenized while the model runs.

    Args:
        classifier: A classifier.
        rows: The file.
        all_scores: Add the probability of each class. A column of the input keeps its name; one that is added gets
            a `_2` if the name is taken.
        cells: What to read from JSON Lines: numbers, numbers as they are written, or the lines themselves.
        skip: Rows to leave out at the start.
        progress: Called with the number of rows done.

    Yields:
        The rows with their predictions, in their order, at least once.
    """
    added = (PREDICTED, SCORE, *(f"prob_{name}" for name in classifier.class_names if all_scores))
    names = free_names(added, rows.columns)
    done = skip

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, rows.height)

    def encode(block: RowBatch) -> tuple[RowBatch, list[int], list[Encoded]]:
        texts = block.frame[rows.text_column].cast(pl.String).to_list()
        present = [row for row, text in enumerate(texts) if text is not None and text.strip()]
        return block, present, classifier.encode([texts[row] for row in present])

    for block, present, texts in prefetch(map(encode, row_batches(rows.batches(cells), skip))):
        probs = classifier.score(texts, progress=advance)
        advance(block.frame.height - len(present))
        yield _label(classifier, block, present, probs, names)


def free_names(wanted: Iterable[str], taken: Sequence[str] = ()) -> list[str]:
    """Return names, each with a number appended if it is taken or a repetition."""
    names = [*taken]
    for name in wanted:
        candidates = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
        names.append(next(candidate for candidate in candidates if candidate not in names))
    return names[len(taken) :]


def _label(
    classifier: Classifier, block: RowBatch, present: list[int], probs: NDArray[np.float32], names: list[str]
) -> LabelledRows:
    """Return rows with their predictions.

    Args:
        classifier: The classifier.
        block: The rows.
        present: The indices of those that have a text.
        probs: `(len(present), C)`.
        names: Of the added columns.
    """
    height = block.frame.height
    labels: list[str | None] = [None] * height
    for row, chosen in zip(present, classifier.decide_all(probs), strict=True):
        labels[row] = "|".join(chosen) if chosen or classifier.task == "multi-label" else None
    scores = np.full((height, 1 + probs.shape[1]), np.nan)
    if present:
        scores[present, 0] = confidence(probs, classifier.task, classifier.decision)
        scores[present, 1:] = probs
    columns = [pl.Series(names[0], labels, dtype=pl.String)]
    for name, column in zip(names[1:], scores.T, strict=False):  # without the classes unless they are named
        columns.append(pl.Series(name, column, dtype=pl.Float64).fill_nan(None))
    abstained = sum(labels[row] is None for row in present)
    return LabelledRows(block, pl.DataFrame(columns), height - len(present), abstained)
