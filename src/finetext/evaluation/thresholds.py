"""Choosing the probability from which a class is predicted, on texts that the model was not trained on."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.errors import UsageError
from finetext.evaluation.metrics import Probs, Targets, matthews, ratio

LEAST_POSITIVES = 5
"""A label with fewer positive examples keeps 0.5: a threshold chosen on so few would be chance."""
_NUMBER = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
_FORM = re.compile(rf"(f1|mcc)|(precision|recall)={_NUMBER}|cost={_NUMBER}:{_NUMBER}|{_NUMBER}")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Criterion:
    """What a threshold is chosen for.

    Attributes:
        kind: f1, mcc, precision, recall, cost or fixed.
        value: The least precision or recall, or the fixed threshold itself.
        costs: What a false positive and a false negative cost.
    """

    kind: str
    value: float = 0.0
    costs: tuple[float, float] = (1.0, 1.0)


def parse_criterion(text: str) -> Criterion:
    """Read `f1`, `mcc`, `precision=0.95`, `recall=0.9`, `cost=FALSE_POSITIVE:FALSE_NEGATIVE`, or a number.

    Raises:
        UsageError: It is none of these.
    """
    match = _FORM.fullmatch(text.strip().lower())
    if match is not None:
        score, minimum, share, false_positive, false_negative, fixed = match.groups()
        if score:
            return Criterion(score)
        if minimum and 0 < float(share) <= 1:
            return Criterion(minimum, float(share))
        if fixed and 0 < float(fixed) < 1:
            return Criterion("fixed", float(fixed))
        if false_positive and float(false_positive) + float(false_negative) > 0:
            return Criterion("cost", costs=(float(false_positive), float(false_negative)))
    raise UsageError(
        f"--threshold {text}: write f1, mcc, precision=0.95, recall=0.9, cost=1:5 "
        "(of a false positive and a false negative), or a number between 0 and 1."
    )


@dataclass(frozen=True)
class ThresholdCounts:
    """True and false positives, false and true negatives at each threshold, all `(K,)`."""

    thresholds: Values
    tp: Values
    fp: Values
    fn: Values
    tn: Values

    @property
    def precision(self) -> Values:
        """1 where nothing is predicted: no prediction is wrong there."""
        return np.asarray(ratio(self.tp, self.tp + self.fp, empty=1.0))

    @property
    def recall(self) -> Values:
        """0 where no text has the class."""
        return np.asarray(ratio(self.tp, self.tp + self.fn))

    @property
    def f1(self) -> Values:
        """Their harmonic mean."""
        return np.asarray(ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn))

    @property
    def mcc(self) -> Values:
        """Matthews correlation coefficient."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        true, predicted = np.stack([tp + fn, tn + fp]), np.stack([tp + fp, tn + fn])
        return np.asarray(matthews(tp + tn, true, predicted, tp + fp + fn + tn))


def count_at(
    target: NDArray[np.integer[Any]], probs: Probs, thresholds: Values | None = None
) -> ThresholdCounts:
    """Count right and wrong predictions at each threshold.

    Args:
        target: `(N,)` zeros and ones.
        probs: `(N,)`, probability of a one.
        thresholds: `(K,)`; by default the middle of each gap between probabilities.
    """
    probs = probs.astype(np.float64)
    if thresholds is None:
        levels = np.unique(np.concatenate([[0.0], probs, [1.0]]))
        middle = (levels[1:] + levels[:-1]) / 2
        # Between two neighbouring numbers there is no middle.
        thresholds = np.where(middle > levels[:-1], middle, levels[1:])
    positives, negatives = np.sort(probs[target == 1]), np.sort(probs[target != 1])
    fn = np.searchsorted(positives, thresholds, side="left").astype(np.float64)
    tn = np.searchsorted(negatives, thresholds, side="left").astype(np.float64)
    return ThresholdCounts(thresholds, len(positives) - fn, len(negatives) - tn, fn, tn)


def choose_threshold(target: NDArray[np.integer[Any]], probs: Probs, criterion: Criterion) -> float:
    """Return the best threshold by a criterion; of several, the one nearest to 0.5.

    For a minimum precision that is the one of highest recall, and the other way round. A precision that cannot be
    reached gives way to the highest that can.

    Args:
        target: `(N,)` zeros and ones.
        probs: `(N,)`, probability of a one.
        criterion: What it is chosen for.
    """
    if criterion.kind == "fixed":
        return criterion.value
    counts = count_at(target, probs)
    if criterion.kind in ("f1", "mcc"):
        score = getattr(counts, criterion.kind)
    elif criterion.kind == "cost":
        score = -(criterion.costs[0] * counts.fp + criterion.costs[1] * counts.fn)
    else:
        required, other = counts.precision, counts.recall
        if criterion.kind == "recall":
            required, other = other, required
        required = np.where(counts.tp > 0, required, 0)  # predicting nothing does not count as precise
        reached = required >= criterion.value - 1e-12
        score = np.where(reached, 1 + other, required) if reached.any() else required
    best = counts.thresholds[score >= score.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def choose_thresholds(targets: Targets, probs: Probs, task: str, criterion: Criterion) -> tuple[float, ...]:
    """Return the threshold of the second class for a binary task, or of each label for multi-label.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones.
        probs: `(N, C)`.
        task: binary or multi-label.
        criterion: What they are chosen for.
    """
    if task == "binary":
        return (choose_threshold(targets, probs[:, 1], criterion),)
    return tuple(
        choose_threshold(target, label_probs, criterion)
        if criterion.kind == "fixed" or LEAST_POSITIVES <= target.sum() < len(target)
        else 0.5
        for target, label_probs in zip(targets.T, probs.T, strict=True)
    )
