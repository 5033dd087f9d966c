"""The numbers behind the plots and the tables that `metrics.json` does not hold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from finetext.evaluation import CALIBRATION_BINS, likeliest
from finetext.reporting.folder import Floats, Ids, Predictions

CURVE_POINTS = 200
"""Most points of a drawn curve, so that a page stays small whatever the number of texts."""
GRID = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """A line through points `(x, y)`."""

    x: Floats
    y: Floats


def varied(one_hot: Ids) -> list[int]:
    """Return the classes that some texts have and some have not: only those can be ranked."""
    counts = one_hot.sum(axis=0)
    return [index for index, own in enumerate(counts) if 0 < own < len(one_hot)]


def roc(target: Ids, score: Floats) -> Curve:
    """Return the true-positive rate over the false-positive rate."""
    false_rate, true_rate, _ = sk.roc_curve(target, score)
    return Curve(false_rate, true_rate)


def precision_recall(target: Ids, score: Floats) -> Curve:
    """Return the precision over the recall, as a staircase whose area is the average precision."""
    precision, recall, _ = sk.precision_recall_curve(target, score)
    # Of the points of one recall, the first that reaches it has the best precision.
    steps, first = np.unique(recall[::-1], return_index=True)
    heights = precision[::-1][first]
    heights[0] = heights[1]  # at a recall of 0, scikit-learn puts a precision of 1 that no threshold gives
    return Curve(steps, heights)


def mean_curve(curves: Sequence[Curve], staircase: bool) -> Curve:
    """Return the mean height of some curves over a common grid.

    Args:
        curves: At least one.
        staircase: Whether a curve keeps, left of a point, that point's height; else it is interpolated.
    """
    grid = np.linspace(0, 1, CURVE_POINTS + 1)
    heights = []
    for own in curves:
        if staircase:
            heights.append(own.y[np.searchsorted(own.x, grid, side="left")])
        else:
            heights.append(np.interp(grid, own.x, own.y))
    y = np.mean(heights, axis=0)
    # Every ROC curve starts at the origin; where it rises at once, interpolation gives the upper end.
    return Curve(grid, y) if staircase else Curve(np.r_[0.0, grid], np.r_[0.0, y])


def thin(curve: Curve, most: int = CURVE_POINTS) -> Curve:
    """Return at most about `most` of a curve's points, evenly along its length, with both ends."""
    if len(curve.x) <= most:
        return curve
    length = np.r_[0.0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y)))]
    kept = np.searchsorted(length, np.linspace(0, length[-1], most))
    kept = np.unique(np.r_[0, kept, len(curve.x) - 1])
    return Curve(curve.x[kept], curve.y[kept])


@dataclass(frozen=True)
class Bin:
    """A range of confidence: how many predictions fall into it, their mean confidence and their accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(predictions: Predictions) -> list[Bin]:
    """Return the bins that hold any prediction, of the likeliest outcomes as the calibration error takes them."""
    confidence, right = likeliest(predictions.targets, predictions.probs, predictions.multi)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    counts, sums, hits = (
        np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS)
        for weights in (None, confidence, right.astype(np.float64))
    )
    return [
        Bin(i / CALIBRATION_BINS, (i + 1) / CALIBRATION_BINS, int(n), float(c / n), float(h / n))
        for i, (n, c, h) in enumerate(zip(counts, sums, hits, strict=True))
        if n
    ]


@dataclass(frozen=True)
class ThresholdRow:
    """What becomes of a binary task at a threshold; None where a figure is not defined."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    mcc: float
    positive: int
    used: bool


def threshold_rows(predictions: Predictions, used: float) -> list[ThresholdRow]:
    """Return a row for each threshold of a grid and for the one in use, whose labels are those predicted."""
    target = predictions.targets == 1
    rows = []
    for threshold in sorted({*GRID, used}):
        if threshold == used:
            positive = predictions.predicted == 1
        else:
            positive = predictions.probs[:, 1] >= threshold
        rows.append(_threshold_row(threshold, target, positive, threshold == used))
    return rows


def _threshold_row(threshold: float, target: Bools, positive: Bools, used: bool) -> ThresholdRow:
    tp, fp = int((target & positive).sum()), int((~target & positive).sum())
    fn, tn = int((target & ~positive).sum()), int((~target & ~positive).sum())
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return ThresholdRow(
        threshold,
        tp / (tp + fp) if tp + fp else None,
        tp / (tp + fn) if tp + fn else None,
        2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
        (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0,  # as in metrics.json
        tp + fp,
        used,
    )


@dataclass(frozen=True)
class Coverage:
    """Accuracy on the most confident texts.

    Attributes:
        limit: `(K,)`, lowest confidence among the texts kept, falling.
        share: `(K,)`, share of the texts kept, rising.
        accuracy: `(K,)`, on those.
    """

    limit: Floats
    share: Floats
    accuracy: Floats

    def at(self, share: float) -> int:
        """Return the index of the smallest share kept that is at least `share`."""
        return min(int(np.searchsorted(self.share, share - 1e-12)), len(self.share) - 1)


def coverage(predictions: Predictions) -> Coverage:
    """Return the accuracy on the texts kept as the confidence limit falls; texts that tie are kept together."""
    confidence, right = predictions.confidence, predictions.right
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    ends = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True])
    kept = ends + 1
    return Coverage(falling[ends], kept / len(order), np.cumsum(right[order])[ends] / kept)


def grouped(curve: Curve, most: int = CURVE_POINTS) -> Curve:
    """Return the means of neighbouring points, at most about `most` of them."""
    starts = np.arange(0, len(curve.x), max(1, math.ceil(len(curve.x) / most)))
    sizes = np.diff(np.r_[starts, len(curve.x)])
    return Curve(np.add.reduceat(curve.x, starts) / sizes, np.add.reduceat(curve.y, starts) / sizes)


def smooth(curve: Curve) -> Curve:
    """Return a running mean over about a twentieth of the points, narrower at both ends."""
    reach = len(curve.y) // 40
    sums = np.r_[0.0, np.cumsum(curve.y)]
    places = np.arange(len(curve.y))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(curve.y))
    return Curve(curve.x, (sums[high] - sums[low]) / (high - low))


def recall_at(curve: Curve, false_rate: float) -> float:
    """Return the highest true-positive rate of a ROC curve at no more than a false-positive rate."""
    return float(curve.y[curve.x <= false_rate].max(initial=0.0))
