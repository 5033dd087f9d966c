"""The metrics of a classifier on a split."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn import metrics as sk

from finetext.decision import LIKELIEST, Decision, decide
from finetext.evaluation.targets import is_right

CALIBRATION_BINS = 15

Probs = NDArray[np.floating[Any]]
Targets = NDArray[np.integer[Any]]
Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class.

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
    """The metrics of a classifier on a split; None where one is not defined.

    Attributes:
        examples: Number of texts.
        accuracy: Share of texts whose prediction is right; for multi-label, all of whose labels are.
        accuracy_low: Lower end of its 95 % Wilson interval.
        accuracy_high: Upper end.
        balanced_accuracy: Mean recall of the classes that occur.
        macro_precision: Mean over classes, as are the other macro metrics.
        macro_recall: Likewise.
        macro_f1: Likewise.
        weighted_precision: Mean weighted by each class's examples, as are the other weighted metrics.
        weighted_recall: Likewise.
        weighted_f1: Likewise.
        micro_f1: F1 of all decisions together.
        mcc: Matthews correlation coefficient; for multi-label, its mean over labels.
        roc_auc: Area under the ROC curve; one class against the rest, mean over classes.
        pr_auc: Average precision; for binary tasks of the second class, else the mean over classes.
        log_loss: Mean negative log-likelihood in nats; for multi-label, over all decisions.
        calibration_error: Expected calibration error.
        hamming_loss: Share of wrong decisions, multi-label only.
        confusion: Rows are true classes, columns predicted ones; none for multi-label.
        classes: The metrics of each class.
        intervals: 95 % intervals by metric, where they were computed.
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
        """Return a metric by its name."""
        value: float | None = getattr(self, name)
        return value

    def interval(self, name: str) -> Interval | None:
        """Return the 95 % interval of a metric, None if it has none."""
        return (self.accuracy_low, self.accuracy_high) if name == "accuracy" else self.intervals.get(name)

    def to_dict(self) -> dict[str, Any]:
        """Return all metrics as JSON values."""
        return dataclasses.asdict(self)


def compute_metrics(
    targets: Targets, probs: Probs, class_names: Sequence[str], task: str, decision: Decision = LIKELIEST
) -> Metrics:
    """Return the metrics of some predictions.

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
    per_class, macro, weighted, micro = (
        sk.precision_recall_fscore_support(targets, predicted, labels=ids, average=average, zero_division=0)
        for average in (None, "macro", "weighted", "micro")
    )
    confusion = None
    if not multi:
        confusion = tuple(map(tuple, sk.confusion_matrix(targets, predicted, labels=ids).tolist()))
    recalls = per_class[1][per_class[3] > 0]
    return Metrics(
        examples=len(targets),
        accuracy=float(right.mean()),
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float(recalls.mean()) if len(recalls) else 0.0,
        macro_precision=float(macro[0]),
        macro_recall=float(macro[1]),
        macro_f1=float(macro[2]),
        weighted_precision=float(weighted[0]),
        weighted_recall=float(weighted[1]),
        weighted_f1=float(weighted[2]),
        micro_f1=float(micro[2]),
        mcc=_mcc(targets, predicted),
        roc_auc=_mean_over_classes(sk.roc_auc_score, one_hot, probs, task),
        pr_auc=_mean_over_classes(sk.average_precision_score, one_hot, probs, task),
        log_loss=float(text_losses(targets, probs, multi).mean()),
        calibration_error=expected_calibration_error(*likeliest(targets, probs, multi)),
        hamming_loss=float((predicted != targets).mean()) if multi else None,
        confusion=confusion,
        classes=tuple(
            ClassMetrics(name, float(p), float(r), float(f), int(n))
            for name, p, r, f, n in zip(class_names, *per_class, strict=True)
        ),
    )


def wilson_interval(right: int, total: int) -> Interval:
    """Return the 95 % Wilson interval of a share; 0 to 1 of nothing.

    Args:
        right: Number of successes.
        total: Number of trials.
    """
    if total == 0:
        return 0.0, 1.0
    interval = binomtest(right, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def ratio(part: Any, whole: Any, empty: float = 0.0) -> Any:
    """Return `part / whole` element by element, `empty` where `whole` is not positive."""
    out = np.full(np.broadcast(part, whole).shape, empty)
    return np.divide(part, whole, out=out, where=np.asarray(whole) > 0)


def matthews(right: Any, true: Any, predicted: Any, total: Any) -> Any:
    """Return the Matthews correlation coefficient (Gorodkin, 2004) from counts.

    Args:
        right: `(...)`, texts whose prediction is right.
        true: `(C, ...)`, texts of each class.
        predicted: `(C, ...)`, texts predicted to be of each class.
        total: All texts.
    """
    covariance = right * total - (true * predicted).sum(axis=0)
    spread = (total**2 - (true**2).sum(axis=0)) * (total**2 - (predicted**2).sum(axis=0))
    return ratio(covariance, np.sqrt(np.maximum(spread, 0)))


def expected_calibration_error(confidence: Probs, right: NDArray[np.bool_]) -> float:
    """Return the mean gap between confidence and accuracy over 15 equal bins (Guo et al., 2017).

    Args:
        confidence: `(N,)`, the probability of what was predicted.
        right: `(N,)`, whether it was right.
    """
    if len(confidence) == 0:
        return 0.0
    sums = np.bincount(calibration_bins(confidence), confidence - right, CALIBRATION_BINS)
    return float(np.abs(sums).sum() / len(confidence))


def calibration_bins(confidence: Probs) -> NDArray[np.int64]:
    """Return the number of each confidence's bin."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def likeliest(targets: Targets, probs: Probs, multi: bool) -> tuple[Probs, NDArray[np.bool_]]:
    """Return the probability of each likeliest outcome and whether it came true, per text, or per label if `multi`.

    Calibration concerns the probabilities, so a chosen threshold plays no part in it.
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


def _mcc(targets: Targets, predicted: Targets) -> float:
    if targets.ndim == 2:
        return float(np.mean([_mcc(t, p) for t, p in zip(targets.T, predicted.T, strict=True)]))
    if len(np.union1d(targets, predicted)) < 2:
        return 0.0  # a single class; scikit-learn returns 0 too, with a warning
    return float(sk.matthews_corrcoef(targets, predicted))


def _mean_over_classes(score: Any, one_hot: Targets, probs: Probs, task: str) -> float | None:
    """Return a ranking score, averaged over the classes that occur and do not always occur."""
    columns = [1] if task == "binary" else range(one_hot.shape[1])
    scores = [score(one_hot[:, c], probs[:, c]) for c in columns if 0 < one_hot[:, c].sum() < len(one_hot)]
    return float(np.mean(scores)) if scores else None
