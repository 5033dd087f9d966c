"""`evaluate()`, and `predictions.csv`."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.decision import LIKELIEST, Decision, abstains, decide
from finetext.evaluation.metrics import Metrics, Probs, Targets, compute_metrics
from finetext.evaluation.resampling import with_intervals
from finetext.evaluation.targets import encode_targets

if TYPE_CHECKING:
    from finetext.inference import Classifier


@dataclass(frozen=True)
class Evaluation:
    """A classifier's predictions for labelled texts.

    Attributes:
        metrics: With intervals.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
    """

    metrics: Metrics
    targets: Targets
    probs: NDArray[np.float32]


def evaluate(
    classifier: "Classifier",
    texts: Sequence[str],
    labels: Sequence[tuple[str, ...]],
    *,
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Compare a classifier's predictions with the true labels.

    Args:
        classifier: The classifier.
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

    The labels of a multi-label text are joined by `|`. Where the decision may abstain, a last column `abstained` says
    for which texts it does; their prediction is the one that they would get.
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
    # Many readers take a lone \r for the end of a line.
    quoting = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(
        ["text", "label", "predicted", *(f"prob_{name}" for name in class_names), *["abstained"] * rejects]
    )
    for text, target, guess, prob, left_out in zip(texts, targets, predicted, probs, abstained, strict=True):
        last = [int(left_out)] * rejects
        row_writer = quoting if "\r" in text else writer
        row_writer.writerow([text, names(target), names(guess), *(f"{p:.7g}" for p in prob), *last])
    files.write_text(path, content.getvalue())
