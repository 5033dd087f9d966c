"""95 % intervals by the bootstrap (Efron, 1979), of one classifier's metrics and of the difference between two.

Texts are drawn again with replacement within each true class. A resample is a column of counts, how often each text
was drawn, so that a metric of all resamples at once comes from matrix products. For the difference of two
classifiers (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993) both are measured on the same texts;
what a text contributes depends on its true class and the two predictions alone, so texts that share these three are
drawn together, as one cell.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    calibration_bins,
    likeliest,
    matthews,
    ratio,
    text_losses,
)
from finetext.metric_names import HEADLINE_METRICS

RESAMPLES = 2000
SEED = 20_201
"""Fixed: the same predictions have the same intervals, whatever the run's seed."""
LEAST_RESAMPLES = 200
_MOST_DRAWS = 100_000_000
"""Most texts x resamples: above 50,000 texts there are fewer resamples."""
_MOST_RANKED = 2_000_000_000
"""Most texts x classes x resamples for the areas under curves."""
_TEXT_CHUNK = 2_000_000
"""Counts held at once, 8 MB: small enough for the processor's cache. Another value draws other resamples."""
_CELL_CHUNK = 4_000_000
_NO_WIDTH = 1e-6
"""A narrower interval is rounding error around a metric that no resample changes."""

Counts = NDArray[np.floating[Any]]
"""`(N, R)`, how often each text or cell occurs in each resample."""
Samples = dict[str, NDArray[np.float64]]
"""Metrics of each resample by name, `(R,)` each."""


@dataclass(frozen=True)
class PairedDifference:
    """How much higher a metric of the second classifier is than that of the first.

    Attributes:
        difference: Second minus first.
        low: Lower end of the 95 % percentile interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float


def with_intervals(
    metrics: Metrics, targets: Targets, probs: Probs, task: str, decision: Decision = LIKELIEST
) -> Metrics:
    """Return the metrics with 95 % intervals.

    Accuracy keeps its Wilson interval, since a bootstrap of a classifier without errors has no width. The others are
    the 2.5th and 97.5th percentiles of 2,000 resamples, fewer above 50,000 texts.

    Args:
        metrics: The metrics of these predictions.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        task: binary, multi-class or multi-label.
        decision: How probabilities become labels.
    """
    accuracy = {"accuracy": metrics.interval("accuracy")}
    return dataclasses.replace(
        metrics, intervals=accuracy | bootstrap_intervals(targets, probs, task, decision)
    )


def bootstrap_intervals(
    targets: Targets,
    probs: Probs,
    task: str,
    decision: Decision = LIKELIEST,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, Interval | None]:
    """Return the 95 % percentile interval of each metric but accuracy.

    Those of the areas under curves are corrected for the bias of the resamples, their mean minus the metric. None
    where the metric is not defined, and where no resample changes it (a classifier without errors, a class with one
    text): an interval without width would claim certainty.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        task: binary, multi-class or multi-label.
        decision: How probabilities become labels.
        resamples: How many.
        seed: Of the draws.
    """
    probs, multi = probs.astype(np.float64), targets.ndim == 2
    of_labels = DecisionSums(targets, decide(probs, task, decision), probs.shape[1])
    of_probs = _probability_metrics(targets, probs, multi)
    rankings = _rankings(targets, probs, task)
    resamples = min(resamples, max(LEAST_RESAMPLES, _MOST_DRAWS // len(probs)))
    most_ranked = max(LEAST_RESAMPLES, _MOST_RANKED // max(1, len(probs) * len(rankings)))
    samples: dict[str, list[NDArray[np.float64]]] = {}
    done = 0
    for counts in _draw_texts(np.zeros(len(targets), int) if multi else targets, resamples, seed):
        metrics = of_labels.metrics(counts) | of_probs(counts)
        if rankings and done < most_ranked:
            metrics |= _mean_areas(rankings, counts)
        done += counts.shape[1]
        del metrics["accuracy"]
        for name, values in metrics.items():
            samples.setdefault(name, []).append(values)
    whole = _mean_areas(rankings, np.ones((len(targets), 1), np.float32)) if rankings else {}
    intervals: dict[str, Interval | None] = {"roc_auc": None, "pr_auc": None}
    for name, chunks in samples.items():
        values = np.concatenate(chunks)
        values = values[~np.isnan(values)]
        # A positive that is drawn twice ranks above itself: resamples look too good where positives are few.
        if name in whole and len(values):
            values = np.clip(values + (whole[name][0] - values.mean()), 0, 1)
        low, high = _percentiles(values)
        intervals[name] = (low, high) if high - low > _NO_WIDTH else None
    return intervals


def decision_metrics(targets: Targets, predicted: Targets, classes: int) -> dict[str, float]:
    """Return accuracy, macro-F1 and MCC of predicted labels, whatever rule derived them from probabilities.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        predicted: Likewise.
        classes: Number of classes.
    """
    metrics = DecisionSums(targets, predicted, classes).metrics(np.ones((len(targets), 1)))
    return {name: float(metrics[name][0]) for name in HEADLINE_METRICS}


def paired_differences(
    targets: Targets,
    first: Targets,
    second: Targets,
    classes: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, PairedDifference]:
    """Return the differences in accuracy, macro-F1 and MCC between two classifiers' predictions.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label; multi-label texts are drawn without
            regard to class, since their classes overlap.
        first: The first classifier's predictions, of the same shape.
        second: The second's.
        classes: Number of classes.
        resamples: How many.
        seed: Of the draws.
    """
    if targets.ndim == 2:
        cells: NDArray[np.integer[Any]] = np.arange(len(targets))
        sizes, strata = np.ones(len(targets)), np.zeros_like(targets[:, 0])
    else:
        triples = np.stack([targets, first, second])
        _, cells, tally = np.unique(triples, axis=1, return_index=True, return_counts=True)
        sizes, strata = tally.astype(np.float64), targets[cells]
    sides = [DecisionSums(targets[cells], labels[cells], classes) for labels in (first, second)]
    before, after = (side.metrics(sizes[:, None]) for side in sides)
    drawn = [
        [side.metrics(counts) for side in sides] for counts in draw_cells(sizes, strata, resamples, seed)
    ]
    differences = {}
    for name in HEADLINE_METRICS:
        spread = np.concatenate([second[name] - first[name] for first, second in drawn])
        difference = float(after[name][0] - before[name][0])
        differences[name] = PairedDifference(difference, *_percentiles(spread))
    return differences


def difference_interval(only_first: int, only_second: int, texts: int) -> Interval:
    """Return the 95 % bootstrap interval of a difference in accuracy on the same texts.

    Args:
        only_first: Texts that the first classifier alone has right.
        only_second: Texts that the second alone has right.
        texts: All texts.
    """
    sizes = np.array([only_first, only_second, texts - only_first - only_second], dtype=np.float64)
    (counts,) = draw_cells(sizes, np.zeros(3, int), 20_000, seed=0)
    return _percentiles((counts[0] - counts[1]) / texts)


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _draw_texts(strata: Targets, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each text was drawn, each stratum keeping its size; `resamples` columns in all."""
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    texts = len(strata)
    most = max(1, min(resamples, _TEXT_CHUNK // texts))
    for start in range(0, resamples, most):
        columns = min(most, resamples - start)
        drawn = [
            rows[random.integers(0, len(rows), (len(rows), columns), dtype=np.int32)] * columns
            for rows in members
        ]
        flat = (np.concatenate(drawn) + np.arange(columns)).ravel()
        yield np.bincount(flat, minlength=texts * columns).reshape(texts, columns).astype(np.float32)


def draw_cells(sizes: NDArray[np.float64], strata: Targets, resamples: int, seed: int) -> Iterator[Counts]:
    """Yield how often each cell of texts occurs: multinomial within each stratum; `resamples` columns in all."""
    random = np.random.default_rng(seed)
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    most = max(1, _CELL_CHUNK // len(sizes))
    for start in range(0, resamples, most):
        rows = min(most, resamples - start)
        drawn = np.empty((rows, len(sizes)))
        for members in groups:
            group = sizes[members]
            drawn[:, members] = random.multinomial(int(group.sum()), group / group.sum(), size=rows)
        yield drawn.T


class DecisionSums:
    """The metrics of predicted labels for many resamples at once.

    They follow from how many texts have each class, are predicted to have it, and rightly so.
    """

    def __init__(self, targets: Targets, predicted: Targets, classes: int) -> None:
        self._multi, self._classes = targets.ndim == 2, classes
        ids = np.arange(classes)[:, None]
        true = targets.T == 1 if self._multi else targets == ids  # (C, N)
        guessed = predicted.T == 1 if self._multi else predicted == ids
        right = (targets == predicted).all(axis=1) if self._multi else targets == predicted
        rows = np.concatenate([true, guessed, true & guessed, right[None]])
        # One class a text leaves few ones, several labels leave many.
        self._rows = rows.astype(np.float32) if self._multi else sparse.csr_array(rows, dtype=np.float32)

    def metrics(self, counts: Counts) -> Samples:
        """Return the metrics of each column of `counts`."""
        *by_class, right = np.asarray(self._rows @ counts, dtype=np.float64)
        true, guessed, hits = np.reshape(by_class, (3, self._classes, -1))  # (C, R)
        total = counts.sum(axis=0, dtype=np.float64)
        f1 = ratio(2 * hits, true + guessed)
        if self._multi:
            # The MCC of one label is that of two classes: the label, and its absence.
            pair, guessed_pair = (np.stack([labels, total - labels]) for labels in (true, guessed))
            mcc = matthews(2 * hits + total - true - guessed, pair, guessed_pair, total).mean(axis=0)
        else:
            mcc = matthews(right, true, guessed, total)
        return {
            "accuracy": right / total,
            "balanced_accuracy": ratio(hits, true).sum(axis=0) / np.maximum(1, (true > 0).sum(axis=0)),
            "macro_f1": f1.mean(axis=0),
            "weighted_f1": ratio((f1 * true).sum(axis=0), true.sum(axis=0)),
            "micro_f1": ratio(2 * hits.sum(axis=0), (true + guessed).sum(axis=0)),
            "mcc": mcc,
        }


def _probability_metrics(targets: Targets, probs: Probs, multi: bool) -> Callable[[Counts], Samples]:
    """Return a function for log loss and calibration error, which are sums over texts."""
    losses = text_losses(targets, probs, multi).astype(np.float32)
    confidence, right = likeliest(targets, probs, multi)
    outcomes = probs.shape[1] if multi else 1
    texts = np.repeat(np.arange(len(targets)), outcomes)
    gaps = sparse.csr_array(
        ((confidence - right).astype(np.float32), (calibration_bins(confidence), texts)),
        shape=(CALIBRATION_BINS, len(targets)),
    )

    def metrics(counts: Counts) -> Samples:
        total = counts.sum(axis=0, dtype=np.float64)
        error = np.abs(gaps @ counts).sum(axis=0) / (total * outcomes)
        return {"log_loss": losses @ counts / total, "calibration_error": error}

    return metrics


class _Ranking:
    """The areas under the ROC and the precision-recall curve of one class, for many resamples at once.

    Both curves change only at the scores of positive texts, so texts are summed by these: the positives of each
    score, and the negatives that lie between two scores or on one.
    """

    def __init__(self, positive: NDArray[np.bool_], scores: Probs) -> None:
        texts, others = np.flatnonzero(positive), np.flatnonzero(~positive)
        levels = -np.unique(scores[texts])[::-1]  # ascending: the highest score first
        shape = (len(levels), len(scores))
        above, here = (np.searchsorted(levels, -scores[others], side=side) for side in ("right", "left"))
        tied = here < above
        self._positives = _group_sums(np.searchsorted(levels, -scores[texts]), texts, shape)
        self._between = _group_sums(above[~tied], others[~tied], (len(levels) + 1, len(scores)))
        self._tied = _group_sums(here[tied], others[tied], shape)

    def areas(self, counts: Counts) -> NDArray[np.float64]:
        """Return ROC-AUC and average precision, `(2, R)`; NaN for a resample that lacks one side."""
        hits, between, tied = self._positives @ counts, self._between @ counts, self._tied @ counts
        passed = np.cumsum(between[:-1] + tied, axis=0)  # negatives of at least the level's score
        reached = np.cumsum(hits, axis=0)
        positives, negatives = reached[-1], passed[-1] + between[-1]
        beaten = (hits * (negatives - passed + tied / 2)).sum(axis=0, dtype=np.float64)
        precision = ratio(hits * reached, reached + passed).sum(axis=0)
        # Each stratum keeps its size, but multi-label texts have none: a resample may lack one side.
        both = (positives > 0) & (negatives > 0)
        areas = [ratio(beaten, positives.astype(np.float64) * negatives), ratio(precision, positives)]
        return np.where(both, np.stack(areas), np.nan)


def _rankings(targets: Targets, probs: Probs, task: str) -> list[_Ranking]:
    """Return the rankings of the classes that some texts have and some have not."""
    classes = [1] if task == "binary" else range(probs.shape[1])
    members = {c: targets[:, c] == 1 if targets.ndim == 2 else targets == c for c in classes}
    return [_Ranking(texts, probs[:, c]) for c, texts in members.items() if 0 < texts.sum() < len(texts)]


def _mean_areas(rankings: list[_Ranking], counts: Counts) -> Samples:
    """Return the mean areas over the classes that a resample can rank; NaN if there is none."""
    areas = np.stack([ranking.areas(counts) for ranking in rankings])  # (K, 2, R)
    defined = ~np.isnan(areas)
    means = ratio(np.where(defined, areas, 0).sum(axis=0), defined.sum(axis=0), empty=np.nan)
    return {"roc_auc": means[0], "pr_auc": means[1]}


def _group_sums(
    groups: NDArray[np.integer[Any]], texts: NDArray[np.integer[Any]], shape: tuple[int, int]
) -> Any:
    """Return the matrix that sums texts by their group."""
    return sparse.csr_array((np.ones(len(texts), np.float32), (groups, texts)), shape=shape)
