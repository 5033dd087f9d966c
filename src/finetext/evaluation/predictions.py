"""Evaluating a classifier on a split, and the file of its predictions."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.evaluation.metrics import Metrics, Probs, Targets, compute_metrics
from finetext.evaluation.targets import decide, encode_targets


class Probabilistic(Protocol):
    """Anything with classes that gives each text a probability of each."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""

    @property
    def task(self) -> str:
        """Binary, multi-class or multi-label."""

    def predict_proba(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return `(N, C)` probabilities."""


@dataclass(frozen=True)
class Evaluation:
    """A classifier's predictions for labelled texts.

    Attributes:
        metrics: Its figures.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
    """

    metrics: Metrics
    targets: Targets
    probs: NDArray[np.float32]


def evaluate(
    classifier: Probabilistic,
    texts: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Compare a classifier's predictions with the labels.

    Args:
        classifier: A classifier.
        texts: `N` texts.
        labels: The class names of each.
        progress: Called with the number of texts done since the last call.

    Raises:
        DataError: A label is not among the classifier's classes.
    """
    targets = encode_targets(labels, classifier.class_names, classifier.task)
    probs = classifier.predict_proba(texts, progress=progress)
    metrics = compute_metrics(targets, probs, classifier.class_names, classifier.task)
    return Evaluation(metrics, targets, probs)


def write_predictions(
    path: Path, texts: Sequence[str], targets: Targets, probs: Probs, class_names: Sequence[str], task: str
) -> None:
    """Write a CSV file with the columns text, label, predicted, and the probability of each class.

    Several labels of a text are joined by `|`.
    """

    def names(row: NDArray[np.integer[Any]]) -> str:
        if task == "multi-label":
            return "|".join(name for name, chosen in zip(class_names, row, strict=True) if chosen)
        return class_names[int(row)]

    predicted = decide(probs, task)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["text", "label", "predicted", *(f"prob_{name}" for name in class_names)])
    for row, (target, guess, prob) in zip(texts, zip(targets, predicted, probs, strict=True), strict=True):
        writer.writerow([row, names(target), names(guess), *(f"{p:.7g}" for p in prob)])
    files.write_text(path, text.getvalue())
