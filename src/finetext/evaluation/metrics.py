"""The figures of a classifier on a split."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from finetext.decision import LIKELIEST, Decision, decide
from finetext.evaluation.targets import is_right

CALIBRATION_BINS = 15
LOWER_IS_BETTER = frozenset({"log_loss", "calibration_error", "hamming_loss"})

Probs = NDArray[np.floating[Any]]
Targets = NDArray[np.integer[Any]]
Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassMetrics:
    """The figures of one class.

    Attributes:
        name: The class.
        precision: Share of its predictions that are right.
        recall: Share of its examples that are found.
        f1: Their harmonic mean.
        support: Its examples in the split.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """The figures of a classifier on a split; None where one is not defined there.

    Attributes:
        examples: Number of texts.
        accuracy: Share of texts whose prediction is right; for multi-label, all of whose labels are.
        accuracy_low: Lower end of its 95 % Wilson interval.
        accuracy_high: Upper end.
        balanced_accuracy: Mean recall of the classes that occur.
        macro_precision: Mean over classes; likewise the other macro figures.
        macro_recall: See there.
        macro_f1: See there.
        weighted_precision: Mean weighted by each class's examples; likewise the other weighted figures.
        weighted_recall: See there.
        weighted_f1: See there.
        micro_f1: F1 of all decisions together.
        mcc: Matthews correlation coefficient; for multi-label, its mean over labels.
        roc_auc: Area under the ROC curve; one class against the rest, mean over classes.
        pr_auc: Average precision; for binary tasks of the second class, else the mean over classes.
        log_loss: Mean negative log-likelihood in nats; for multi-label, over all decisions.
        calibration_error: Expected calibration error.
        hamming_loss: Share of wrong decisions, multi-label only.
        confusion: Rows are true classes, columns predicted ones; none for multi-label.
        classes: The figures of each class.
        intervals: 95 % intervals of the headline figures, where they were asked for.
    """

    examples: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    micro_f1: float
    mcc: float
    roc_auc: float | None
    pr_auc: float | None
    log_loss: float
    calibration_error: float
    hamming_loss: float | None
    confusion: tuple[tuple[int, ...], ...] | None
    classes: tuple[ClassMetrics, ...]
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """Return one figure by its name."""
        value: float | None = getattr(self, name)
        return value

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return dataclasses.asdict(self)


def higher_is_better(name: str) -> bool:
    """Tell whether a larger value of a figure is the better one."""
    return name not in LOWER_IS_BETTER


def compute_metrics(
    targets: Targets, probs: Probs, class_names: Sequence[str], task: str, decision: Decision = LIKELIEST
) -> Metrics:
    """Return the figures of some predictions.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        class_names: The classes in the order of their ids.
        task: binary, multi-class or multi-label.
        decision: How probabilities become labels. A text on which it abstains counts with the label it would get.
    """
    probs = probs.astype(np.float64)
    multi = task == "multi-label"
    predicted = decide(probs, task, decision)
    ids = list(range(len(class_names)))
    one_hot = targets if multi else np.eye(len(ids), dtype=np.int64)[targets]
    right = is_right(targets, probs, task, decision)
    low, high = wilson_interval(int(right.sum()), len(right))
    averages = {
        kind: sk.precision_recall_fscore_support(
            targets, predicted, labels=ids, average=kind, zero_division=0
        )
        for kind in ("macro", "weighted", "micro")
    }
    per_class = sk.precision_recall_fscore_support(
        targets, predicted, labels=ids, average=None, zero_division=0
    )
    recalls = per_class[1][per_class[3] > 0]
    return Metrics(
        examples=len(targets),
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(recalls.mean()) if len(recalls) else 0.0,
        macro_precision=float(averages["macro"][0]),
        macro_recall=float(averages["macro"][1]),
        macro_f1=float(averages["macro"][2]),
        weighted_precision=float(averages["weighted"][0]),
        weighted_recall=float(averages["weighted"][1]),
        weighted_f1=float(averages["weighted"][2]),
        micro_f1=float(averages["micro"][2]),
        mcc=_mcc(targets, predicted),
        roc_auc=_mean_over_classes(sk.roc_auc_score, one_hot, probs, task),
        pr_auc=_mean_over_classes(sk.average_precision_score, one_hot, probs, task),
        log_loss=float(text_losses(targets, probs, multi).mean()),
        calibration_error=_calibration_error(targets, probs, multi),
        hamming_loss=float((predicted != targets).mean()) if multi else None,
        confusion=None if multi else _confusion(targets, predicted, ids),
        classes=tuple(
            ClassMetrics(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(class_names, *per_class, strict=True)
        ),
    )


def wilson_interval(right: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson, 1927).

    Args:
        right: How many of them.
        total: Of how many.
        z: Quantile of the normal distribution.
    """
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # At the ends the formula gives the share itself, but for the last digit of the arithmetic.
    return max(0.0, min(share, (centre - spread) / scale)), min(1.0, max(share, (centre + spread) / scale))


def expected_calibration_error(confidence: Probs, right: NDArray[np.bool_]) -> float:
    """Return the mean gap between confidence and accuracy over 15 equal bins (Guo et al., 2017).

    Args:
        confidence: `(N,)`, the probability of what was predicted.
        right: `(N,)`, whether it was right.
    """
    if len(confidence) == 0:
        return 0.0
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    sums = np.bincount(bins, weights=confidence - right, minlength=CALIBRATION_BINS)
    return float(np.abs(sums).sum() / len(confidence))


def likeliest(targets: Targets, probs: Probs, multi: bool) -> tuple[Probs, NDArray[np.bool_]]:
    """Return the probability of each likeliest outcome and whether it came true, one a text, or a decision if multi.

    Calibration is about probabilities, so a chosen threshold has no part in it.
    """
    if multi:
        return np.maximum(probs, 1 - probs).ravel(), ((probs >= 0.5) == targets).ravel()
    return probs.max(axis=1), probs.argmax(axis=1) == targets


def text_losses(targets: Targets, probs: Probs, multi: bool) -> NDArray[np.float64]:
    """Return the negative log-likelihood of each text's labels in nats, `(N,)`; the mean over its labels if `multi`."""
    least = np.finfo(np.float64).eps
    safe = np.clip(probs.astype(np.float64), least, 1 - least)
    if multi:
        return -(targets * np.log(safe) + (1 - targets) * np.log1p(-safe)).mean(1)  # type: ignore[no-any-return]
    return -np.log(safe[np.arange(len(targets)), targets])


def _calibration_error(targets: Targets, probs: Probs, multi: bool) -> float:
    return expected_calibration_error(*likeliest(targets, probs, multi))


def _mcc(targets: Targets, predicted: Targets) -> float:
    if targets.ndim == 2:
        return float(np.mean([_mcc(t, p) for t, p in zip(targets.T, predicted.T, strict=True)]))
    if len(np.union1d(targets, predicted)) < 2:
        return 0.0  # nothing to tell apart; scikit-learn says 0 too, with a warning
    return float(sk.matthews_corrcoef(targets, predicted))


def _mean_over_classes(score: Any, one_hot: Targets, probs: Probs, task: str) -> float | None:
    """Return a ranking score, averaged over the classes that occur and do not always occur."""
    columns = [1] if task == "binary" else range(one_hot.shape[1])
    scores = [score(one_hot[:, c], probs[:, c]) for c in columns if 0 < one_hot[:, c].sum() < len(one_hot)]
    return float(np.mean(scores)) if scores else None


def _confusion(targets: Targets, predicted: Targets, ids: list[int]) -> tuple[tuple[int, ...], ...]:
    matrix = sk.confusion_matrix(targets, predicted, labels=ids)
    return tuple(tuple(int(count) for count in row) for row in matrix)
