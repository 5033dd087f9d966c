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
from finetext.decision import LIKELIEST, Decision, abstains, decide
from finetext.evaluation.bootstrap import with_intervals
from finetext.evaluation.metrics import Metrics, Probs, Targets, compute_metrics
from finetext.evaluation.targets import encode_targets


class Probabilistic(Protocol):
    """Anything with classes that gives each text a probability of each."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""

    @property
    def task(self) -> str:
        """Binary, multi-class or multi-label."""

    @property
    def decision(self) -> Decision:
        """How its probabilities become labels."""

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
    metrics = compute_metrics(targets, probs, classifier.class_names, classifier.task, classifier.decision)
    metrics = with_intervals(metrics, targets, probs, classifier.task, classifier.decision)
    return Evaluation(metrics, targets, probs)


def write_predictions(
    path: Path,
    texts: Sequence[str],
    targets: Targets,
    probs: Probs,
    class_names: Sequence[str],
    task: str,
    decision: Decision = LIKELIEST,
) -> None:
    """Write a CSV file with the columns text, label, predicted, and the probability of each class.

    Several labels of a text are joined by `|`. Where the decision may abstain, a last column `abstained` says for
    which texts it does; their prediction is the one that they would get.
    """

    def names(row: NDArray[np.integer[Any]]) -> str:
        if task == "multi-label":
            return "|".join(name for name, chosen in zip(class_names, row, strict=True) if chosen)
        return class_names[int(row)]

    predicted = decide(probs, task, decision)
    rejects = decision.abstain_below is not None
    abstained = abstains(probs, task, decision)
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator="\n")
    careful = csv.writer(
        content, lineterminator="\n", quoting=csv.QUOTE_ALL
    )  # a lone \r ends a line for many readers
    writer.writerow(
        ["text", "label", "predicted", *(f"prob_{name}" for name in class_names), *["abstained"] * rejects]
    )
    for text, target, guess, prob, left_out in zip(texts, targets, predicted, probs, abstained, strict=True):
        last = [int(left_out)] * rejects
        own = careful if "\r" in text else writer
        own.writerow([text, names(target), names(guess), *(f"{p:.7g}" for p in prob), *last])
    files.write_text(path, content.getvalue())
