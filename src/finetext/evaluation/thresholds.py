"""Choosing the probability from which on a class is predicted, on texts that the model did not learn from."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.errors import UsageError
from finetext.evaluation.metrics import Probs, Targets

LEAST_POSITIVES = 5
"""A label with fewer examples to choose on keeps 0.5: a threshold from so few would be chance."""
_FORM = re.compile(r"(f1|mcc)|(precision|recall)=([0-9.]+)|cost=([0-9.]+):([0-9.]+)|([0-9.]+)")
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Criterion:
    """What a threshold is chosen for.

    Attributes:
        kind: f1, mcc, precision, recall, cost or fixed.
        value: The wanted precision or recall, or the threshold itself.
        costs: What a false positive and a false negative cost.
    """

    kind: str
    value: float = 0.0
    costs: tuple[float, float] = (1.0, 1.0)


def parse_criterion(text: str) -> Criterion:
    """Read `f1`, `mcc`, `precision=0.95`, `recall=0.9`, `cost=FALSE_POSITIVE:FALSE_NEGATIVE`, or a number.

    Raises:
        UsageError: It is none of them.
    """
    found = _FORM.fullmatch(text.strip().lower())
    try:
        if found is not None:
            name, wanted, share, false_positive, false_negative, fixed = found.groups()
            if name:
                return Criterion(name)
            if wanted and 0 < float(share) <= 1:
                return Criterion(wanted, float(share))
            if fixed and 0 < float(fixed) < 1:
                return Criterion("fixed", float(fixed))
            if false_positive and float(false_positive) + float(false_negative) > 0:
                return Criterion("cost", costs=(float(false_positive), float(false_negative)))
    except ValueError:
        pass
    raise UsageError(
        f"--threshold {text}: write f1, mcc, precision=0.95, recall=0.9, cost=1:5 "
        "(of a false positive and a false negative), or a number between 0 and 1."
    )


@dataclass(frozen=True)
class Counts:
    """What happens at each threshold, all `(K,)`: true and false positives, false and true negatives."""

    thresholds: Values
    tp: Values
    fp: Values
    fn: Values
    tn: Values

    @property
    def precision(self) -> Values:
        """1 where nothing is predicted: no prediction is wrong there."""
        return np.divide(self.tp, self.tp + self.fp, out=np.ones_like(self.tp), where=self.tp + self.fp > 0)

    @property
    def recall(self) -> Values:
        """0 where there is nothing to find."""
        return np.divide(self.tp, self.tp + self.fn, out=np.zeros_like(self.tp), where=self.tp + self.fn > 0)

    @property
    def f1(self) -> Values:
        """Harmonic mean of both."""
        whole = 2 * self.tp + self.fp + self.fn
        return np.divide(2 * self.tp, whole, out=np.zeros_like(self.tp), where=whole > 0)

    @property
    def mcc(self) -> Values:
        """Matthews correlation coefficient."""
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        spread = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return np.divide(tp * tn - fp * fn, spread, out=np.zeros_like(tp), where=spread > 0)


def count_at(wanted: NDArray[np.integer[Any]], probs: Probs, thresholds: Values | None = None) -> Counts:
    """Count what is predicted rightly and wrongly at each threshold.

    Args:
        wanted: `(N,)` zeros and ones.
        probs: `(N,)`, of a one.
        thresholds: `(K,)`; by default the middle of each gap between probabilities.
    """
    probs = probs.astype(np.float64)
    if thresholds is None:
        levels = np.unique(np.concatenate([[0.0], probs, [1.0]]))
        thresholds = (levels[1:] + levels[:-1]) / 2
    positives, negatives = np.sort(probs[wanted == 1]), np.sort(probs[wanted != 1])
    fn = np.searchsorted(positives, thresholds, side="left").astype(np.float64)
    tn = np.searchsorted(negatives, thresholds, side="left").astype(np.float64)
    return Counts(thresholds, len(positives) - fn, len(negatives) - tn, fn, tn)


def choose_threshold(wanted: NDArray[np.integer[Any]], probs: Probs, criterion: Criterion) -> float:
    """Return the threshold that serves a criterion best; of several that do, the one nearest to 0.5.

    A precision is wanted with the most recall, a recall with the most precision. Where a precision cannot be had,
    the highest that can be is taken.

    Args:
        wanted: `(N,)` zeros and ones.
        probs: `(N,)`, of a one.
        criterion: What it is chosen for.
    """
    if criterion.kind == "fixed":
        return criterion.value
    counts = count_at(wanted, probs)
    if criterion.kind in ("f1", "mcc"):
        worth = getattr(counts, criterion.kind)
    elif criterion.kind == "cost":
        worth = -(criterion.costs[0] * counts.fp + criterion.costs[1] * counts.fn)
    else:
        own, other = counts.precision, counts.recall
        if criterion.kind == "recall":
            own, other = other, own
        own = np.where(counts.tp > 0, own, 0)  # predicting nothing is no way to be precise
        reached = own >= criterion.value - 1e-12
        worth = np.where(reached, 1 + other, own) if reached.any() else own
    best = counts.thresholds[worth >= worth.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def choose_thresholds(targets: Targets, probs: Probs, task: str, criterion: Criterion) -> tuple[float, ...]:
    """Return one threshold of the second class for a binary task, or one a label for multi-label.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones.
        probs: `(N, C)`.
        task: binary or multi-label.
        criterion: What they are chosen for.
    """
    if task == "binary":
        return (choose_threshold(targets, probs[:, 1], criterion),)
    return tuple(
        choose_threshold(wanted, own, criterion)
        if criterion.kind == "fixed" or LEAST_POSITIVES <= wanted.sum() < len(wanted)
        else 0.5
        for wanted, own in zip(targets.T, probs.T, strict=True)
    )
