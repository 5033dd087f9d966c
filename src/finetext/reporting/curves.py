"""The numbers behind plots and tables that are not in `metrics.json`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn import metrics as sk

from finetext.evaluation import CALIBRATION_BINS, ThresholdCounts, calibration_bins, likeliest
from finetext.reporting.folder import Floats, Ids, Predictions

CURVE_POINTS = 200
"""Most points of a drawn curve: a page stays small, however many texts there are."""
GRID = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Curve:
    """A line through points `(x, y)`."""

    x: Floats
    y: Floats


def varied(one_hot: Ids) -> list[int]:
    """Return the classes that some texts have and some have not: only those can be ranked."""
    counts = one_hot.sum(axis=0)
    return [index for index, count in enumerate(counts) if 0 < count < len(one_hot)]


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
    """Return the mean height of several curves over a common grid.

    Args:
        curves: At least one.
        staircase: Whether a curve has, left of a point, that point's height; else it is interpolated.
    """
    grid = np.linspace(0, 1, CURVE_POINTS + 1)
    if staircase:
        return Curve(grid, np.mean([curve.y[np.searchsorted(curve.x, grid)] for curve in curves], axis=0))
    y = np.mean([np.interp(grid, curve.x, curve.y) for curve in curves], axis=0)
    # Every ROC curve starts at the origin; where it rises at once, interpolation gives the upper end.
    return Curve(np.r_[0.0, grid], np.r_[0.0, y])


def thin(curve: Curve, most: int = CURVE_POINTS) -> Curve:
    """Return at most about `most` of a curve's points, evenly along its length, with both ends."""
    if len(curve.x) <= most:
        return curve
    length = np.r_[0.0, np.cumsum(np.abs(np.diff(curve.x)) + np.abs(np.diff(curve.y)))]
    kept = np.searchsorted(length, np.linspace(0, length[-1], most))
    kept = np.unique(np.r_[0, kept, len(curve.x) - 1])
    return Curve(curve.x[kept], curve.y[kept])


@dataclass(frozen=True)
class Reliability:
    """Ranges of confidence, all `(K,)`.

    Attributes:
        low: Their lower ends; each range is `1 / CALIBRATION_BINS` wide.
        count: How many predictions fall into each.
        confidence: Their mean confidence.
        accuracy: Their accuracy.
    """

    low: Floats
    count: Ids
    confidence: Floats
    accuracy: Floats


def reliability(predictions: Predictions) -> Reliability:
    """Return the non-empty bins of the likeliest outcomes, as the calibration error uses them."""
    confidence, right = likeliest(predictions.targets, predictions.probs, predictions.multi)
    bins = calibration_bins(confidence)
    counts, sums, hits = (np.bincount(bins, weights) for weights in (None, confidence, right))
    (used,) = np.nonzero(counts)
    counts = counts[used]
    return Reliability(used / CALIBRATION_BINS, counts, sums[used] / counts, hits[used] / counts)


def threshold_counts(predictions: Predictions, used: float) -> ThresholdCounts:
    """Return the counts at each threshold of a grid and at the one in use, which has its actual predictions."""
    thresholds = np.array(sorted({*GRID, used}))
    positive = predictions.probs[:, 1, None] >= thresholds  # (N, K)
    positive[:, thresholds == used] = (predictions.predicted == 1)[:, None]
    target = (predictions.targets == 1)[:, None]
    tp, fp, fn, tn = (
        (truth & said).sum(axis=0).astype(np.float64)
        for said in (positive, ~positive)
        for truth in (target, ~target)
    )
    return ThresholdCounts(thresholds, tp, fp, fn, tn)


@dataclass(frozen=True)
class CoverageCurve:
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


def coverage(predictions: Predictions) -> CoverageCurve:
    """Return the accuracy on the texts kept as the confidence limit falls; ties are kept together."""
    confidence, right = predictions.confidence, predictions.right
    order = np.argsort(-confidence, kind="stable")
    falling = confidence[order]
    ends = np.flatnonzero(np.r_[falling[1:] != falling[:-1], True])
    kept = ends + 1
    return CoverageCurve(falling[ends], kept / len(order), np.cumsum(right[order])[ends] / kept)


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
