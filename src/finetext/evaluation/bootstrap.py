"""95 % intervals by the bootstrap (Efron, 1979): texts drawn again with replacement, within each true class.

Every resample is a column of counts, how often each text was drawn, so that a figure of all resamples at once comes
from products with sparse matrices: the cells of the confusion matrix, the bins, the steps of a curve.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from finetext.decision import LIKELIEST, Decision, decide
from finetext.evaluation.metrics import (
    CALIBRATION_BINS,
    Interval,
    Metrics,
    Probs,
    Targets,
    likeliest,
    text_losses,
)

RESAMPLES = 2000
SEED = 20_201
"""Fixed: the same predictions have the same intervals, whatever the run's seed."""
_CHUNK = 2_000_000
"""Counts held at once, 8 MB: small enough for the processor's cache."""
_WORK = 100_000_000
"""Most texts x resamples: over 50,000 texts there are fewer resamples."""
_RANKING_WORK = 2_000_000_000
"""Most texts x classes x resamples for the areas under curves."""
LEAST_RESAMPLES = 200
_NO_WIDTH = 1e-6
"""Narrower than this an interval is that of a figure which no resample changes, but for rounding."""
Counts = NDArray[np.float32]


def with_intervals(
    metrics: Metrics, targets: Targets, probs: Probs, task: str, decision: Decision = LIKELIEST
) -> Metrics:
    """Return the figures with the 95 % intervals of the headline ones.

    That of accuracy is Wilson's, since a bootstrap of a classifier without errors has no width; the others are the
    2.5th and 97.5th percentile of 2,000 resamples (of fewer beyond 50,000 texts).

    Args:
        metrics: The figures of these predictions.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        task: binary, multi-class or multi-label.
        decision: How probabilities become labels.
    """
    intervals = bootstrap_intervals(targets, probs, task, decision)
    accuracy = (metrics.accuracy_low, metrics.accuracy_high)
    return dataclasses.replace(metrics, intervals={"accuracy": accuracy} | intervals)


def bootstrap_intervals(
    targets: Targets,
    probs: Probs,
    task: str,
    decision: Decision = LIKELIEST,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Interval | None]:
    """Return the 95 % percentile interval of each figure.

    Those of the areas under curves are moved by the bias of the resamples, their mean less the figure. None where the
    figure is not defined, and where no resample changes it (a classifier without errors, a class with one text): an
    interval without width would claim certainty.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        task: binary, multi-class or multi-label.
        decision: How probabilities become labels.
        resamples: How many.
        seed: Of the draws.
    """
    multi = task == "multi-label"
    resamples = min(resamples, max(LEAST_RESAMPLES, _WORK // len(probs)))
    probs = probs.astype(np.float64)
    one_hot = targets if multi else np.eye(probs.shape[1], dtype=np.int64)[targets]
    columns = [1] if task == "binary" else list(range(one_hot.shape[1]))
    ranked = [_Ranking(one_hot[:, c], probs[:, c]) for c in columns if 0 < one_hot[:, c].sum() < len(one_hot)]
    predicted = decide(probs, task, decision)
    decided = _label_decisions if multi else _class_decisions
    figures = decided(targets, predicted, probs.shape[1])
    sums = _sums(targets, probs, multi)
    enough = max(LEAST_RESAMPLES, _RANKING_WORK // max(1, len(probs) * len(ranked)))
    found: dict[str, list[NDArray[np.floating[Any]]]] = {}
    done = 0
    for counts in _draws(np.zeros(len(targets), int) if multi else targets, resamples, seed):
        own = figures(counts) | sums(counts)
        if ranked and done < enough:
            areas = np.stack([ranking.areas(counts) for ranking in ranked])
            own |= {"roc_auc": _mean_of_defined(areas[:, 0]), "pr_auc": _mean_of_defined(areas[:, 1])}
        done += counts.shape[1]
        for name, values in own.items():
            found.setdefault(name, []).append(values)
    once = np.ones((len(targets), 1), np.float32)
    own_areas = np.array([ranking.areas(once)[:, 0] for ranking in ranked]).reshape(-1, 2)
    whole = dict(zip(("roc_auc", "pr_auc"), own_areas.mean(axis=0), strict=True)) if ranked else {}
    intervals: dict[str, Interval | None] = {"roc_auc": None, "pr_auc": None}
    for name, chunks in found.items():
        values = np.concatenate(chunks)
        values = values[~np.isnan(values)]
        # A positive that is drawn twice ranks above itself: resamples look too good where positives are few.
        if name in whole and len(values):
            values = np.clip(values + (whole[name] - values.mean()), 0, 1)
        low, high = np.quantile(values, [0.025, 0.975])
        intervals[name] = (float(low), float(high)) if high - low > _NO_WIDTH else None
    return intervals


def _draws(strata: Targets, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield `(N, R)` how often each text was drawn, each stratum keeping its size, `resamples` columns in all."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    texts = len(strata)
    most = max(1, min(resamples, _CHUNK // texts))
    for start in range(0, resamples, most):
        columns = min(most, resamples - start)
        drawn = [
            own[random.integers(0, len(own), (len(own), columns), dtype=np.int32)] * columns
            for own in members
        ]
        flat = (np.concatenate(drawn) + np.arange(columns)).ravel()
        yield np.bincount(flat, minlength=texts * columns).reshape(texts, columns).astype(np.float32)


def _class_decisions(
    targets: Targets, predicted: Targets, classes: int
) -> Callable[[Counts], dict[str, Any]]:
    """Return the figures that follow from the confusion matrix, for one label a text."""
    cells = sparse.csr_array(
        (np.ones(len(targets), np.float32), (targets * classes + predicted, np.arange(len(targets)))),
        shape=(classes * classes, len(targets)),
    )

    def figures(counts: Counts) -> dict[str, Any]:
        confusion = (cells @ counts).T.reshape(-1, classes, classes).astype(np.float64)
        right = np.diagonal(confusion, axis1=1, axis2=2)
        true, guessed = confusion.sum(axis=2), confusion.sum(axis=1)
        total = true.sum(axis=1)
        f1 = _share(2 * right, true + guessed)
        return {
            "balanced_accuracy": _share(right, true).sum(axis=1) / np.maximum(1, (true > 0).sum(axis=1)),
            "macro_f1": f1.mean(axis=1),
            "weighted_f1": (f1 * true).sum(axis=1) / total,
            "micro_f1": right.sum(axis=1) / total,
            "mcc": _mcc(right.sum(axis=1), true, guessed, total),
        }

    return figures


def _label_decisions(
    targets: Targets, predicted: Targets, classes: int
) -> Callable[[Counts], dict[str, Any]]:
    """Return the figures that follow from the four counts of each label, for several labels a text."""
    both, either, wanted = ((part.T.astype(np.float32)) for part in (targets & predicted, predicted, targets))

    def figures(counts: Counts) -> dict[str, Any]:
        right, guessed, true = ((part @ counts).T.astype(np.float64) for part in (both, either, wanted))
        total = counts.sum(axis=0, dtype=np.float64)[:, None]
        f1 = _share(2 * right, true + guessed)
        # The MCC of one label is that of a matrix of two classes: the label, and its absence.
        agree = right + (total - true - guessed + right)
        pairs = [np.stack([own, total - own], axis=2) for own in (true, guessed)]
        mcc = _mcc(agree, pairs[0], pairs[1], total)
        occurs = np.maximum(1, (true > 0).sum(axis=1))
        return {
            "balanced_accuracy": _share(right, true).sum(axis=1) / occurs,
            "macro_f1": f1.mean(axis=1),
            "weighted_f1": _share((f1 * true).sum(axis=1), true.sum(axis=1)),
            "micro_f1": _share(2 * right.sum(axis=1), (true + guessed).sum(axis=1)),
            "mcc": mcc.mean(axis=1),
        }

    return figures


def _mcc(right: Any, true: Any, guessed: Any, total: Any) -> Any:
    """Return Matthews' coefficient of several classes (Gorodkin, 2004); the classes stand on the last axis."""
    covariance = right * total - (true * guessed).sum(axis=-1)
    spread = (total**2 - (true**2).sum(axis=-1)) * (total**2 - (guessed**2).sum(axis=-1))
    return _share(covariance, np.sqrt(np.maximum(spread, 0)))


def _mean_of_defined(areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over classes of each resample, `(K, R)` -> `(R,)`, of those that it can rank; NaN of none."""
    defined = ~np.isnan(areas)
    count = defined.sum(axis=0)
    mean = np.full(len(count), np.nan)
    np.divide(np.where(defined, areas, 0).sum(axis=0), count, out=mean, where=count > 0)
    return mean


def _share(part: Any, whole: Any) -> Any:
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=np.asarray(whole) > 0)


def _sums(targets: Targets, probs: Probs, multi: bool) -> Callable[[Counts], dict[str, Any]]:
    """Return log loss and calibration error, which are sums over texts."""
    losses = text_losses(targets, probs, multi)
    confidence, right = likeliest(targets, probs, multi)
    each = probs.shape[1] if multi else 1
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    owners = np.repeat(np.arange(len(targets)), each)
    gaps = sparse.csr_array(
        ((confidence - right).astype(np.float32), (bins, owners)), shape=(CALIBRATION_BINS, len(targets))
    )

    def figures(counts: Counts) -> dict[str, Any]:
        total = counts.sum(axis=0, dtype=np.float64)
        return {
            "log_loss": losses.astype(np.float32) @ counts / total,
            "calibration_error": np.abs(gaps @ counts).sum(axis=0) / (total * each),
        }

    return figures


class _Ranking:
    """The areas under the ROC and the precision-recall curve of one class, for many resamples at once.

    Both change only where a positive text stands, so texts are summed by the distinct scores of the positives:
    the positives of each score, and the negatives that lie between two scores or on one.
    """

    def __init__(self, wanted: NDArray[np.integer[Any]], scores: Probs) -> None:
        positive = np.flatnonzero(wanted == 1)
        negative = np.flatnonzero(wanted != 1)
        levels = -np.unique(scores[positive])[::-1]  # ascending: the highest score first
        shape = (len(levels), len(scores))
        self._positives = _summing(np.searchsorted(levels, -scores[positive]), positive, shape)
        above = np.searchsorted(
            levels, -scores[negative], side="right"
        )  # the first level below each negative
        here = np.searchsorted(levels, -scores[negative], side="left")
        tied = here < above
        self._between = _summing(above[~tied], negative[~tied], (len(levels) + 1, len(scores)))
        self._tied = _summing(here[tied], negative[tied], shape)

    def areas(self, counts: Counts) -> NDArray[np.float64]:
        """Return ROC-AUC and average precision, `(2, R)`; NaN for a resample that lacks one side."""
        found = self._positives @ counts
        between, tied = self._between @ counts, self._tied @ counts
        upto = np.cumsum(between[:-1] + tied, axis=0)  # negatives of at least the level's score
        reached = np.cumsum(found, axis=0)
        positives, negatives = reached[-1], upto[-1] + between[-1]
        beaten = (found * (negatives - upto + tied / 2)).sum(axis=0, dtype=np.float64)
        precision = _share(found * reached, reached + upto).sum(axis=0)
        # Each stratum keeps its size, but several labels a text have none: a resample may lack one side.
        both = (positives > 0) & (negatives > 0)
        areas = [_share(beaten, positives.astype(np.float64) * negatives), _share(precision, positives)]
        return np.where(both, np.stack(areas), np.nan)


def _summing(
    groups: NDArray[np.integer[Any]], texts: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> Any:
    """Return the matrix that sums texts by their group."""
    return sparse.csr_array((np.ones(len(texts), np.float32), (groups, texts)), shape=shape)
