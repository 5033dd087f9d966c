"""The difference of two classifiers on the same texts, with its interval by a paired bootstrap.

Texts are drawn again with replacement within each true class (Efron and Tibshirani, "An Introduction to the
Bootstrap", 1993), and both classifiers are measured on the same drawn texts. What a text adds to the figures depends
on its true class and the two predictions alone, so a resample is a draw of how often each such triple occurs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.evaluation.metrics import Targets

RESAMPLES = 2000
_CHUNK = 4_000_000
"""Counts held at once."""
_Counts = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """How much higher a figure of the second classifier is than that of the first.

    Attributes:
        difference: Second minus first.
        low: Lower end of the 95 % percentile interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float


def decision_figures(targets: Targets, predicted: Targets, classes: int) -> dict[str, float]:
    """Return accuracy, macro-F1 and MCC of predictions, whatever rule made them of probabilities.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        predicted: Likewise.
        classes: Number of classes.
    """
    figures = _Side(targets, predicted, classes).figures(np.ones((1, len(targets))))
    return {name: float(value[0]) for name, value in figures.items()}


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
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label; then texts are drawn from all
            alike, since their classes overlap.
        first: The first classifier's predictions, of the same shape.
        second: The second's.
        classes: Number of classes.
        resamples: How many.
        seed: Of the draws.
    """
    if targets.ndim == 2:
        cells: NDArray[np.integer[Any]] = np.arange(len(targets))
        counts, strata = np.ones(len(targets)), np.zeros_like(targets[:, 0])
    else:
        triples = np.stack([targets, first, second])
        _, first_places, tally = np.unique(triples, axis=1, return_index=True, return_counts=True)
        cells, counts = first_places, tally.astype(np.float64)
        strata = targets[cells]
    sides = [_Side(targets[cells], own[cells], classes) for own in (first, second)]
    whole = [side.figures(counts[None]) for side in sides]
    drawn = [
        [side.figures(part) for side in sides]
        for part in _draws(counts, strata, resamples, np.random.default_rng(seed))
    ]
    differences = {}
    for name in whole[0]:
        spread = np.concatenate([second[name] - first[name] for first, second in drawn])
        low, high = np.quantile(spread, [0.025, 0.975])
        differences[name] = PairedDifference(
            float(whole[1][name][0] - whole[0][name][0]), float(low), float(high)
        )
    return differences


def _draws(
    counts: _Counts, strata: Targets, resamples: int, random: np.random.Generator
) -> Iterator[_Counts]:
    """Yield how often each cell occurs in some resamples, `(R, cells)`: multinomial within each stratum."""
    groups = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    rows = max(1, _CHUNK // len(counts))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = np.empty((size, len(counts)))
        for members in groups:
            own = counts[members]
            drawn[:, members] = random.multinomial(int(own.sum()), own / own.sum(), size=size)
        yield drawn


class _Side:
    """One classifier's part: which cells are right, and what each adds to a class."""

    def __init__(self, targets: Targets, predicted: Targets, classes: int) -> None:
        self._multi = targets.ndim == 2
        ids = np.arange(classes)
        true = targets if self._multi else targets[:, None] == ids  # (cells, C)
        found = predicted if self._multi else predicted[:, None] == ids
        self._true, self._found = true.astype(np.float64), found.astype(np.float64)
        self._hit = self._true * self._found
        same = targets == predicted
        self._right = (same.all(axis=1) if self._multi else same).astype(np.float64)

    def figures(self, counts: _Counts) -> dict[str, _Counts]:
        """Return the figures of each row of `counts`."""
        total = counts.sum(axis=1)  # (R,)
        true, found, hit = counts @ self._true, counts @ self._found, counts @ self._hit  # (R, C)
        f1 = _divide(2 * hit, true + found).mean(axis=1)
        mcc = _labels_mcc if self._multi else _classes_mcc
        return {
            "accuracy": counts @ self._right / total,
            "macro_f1": f1,
            "mcc": mcc(true, found, hit, total[:, None]),
        }


def _classes_mcc(true: _Counts, found: _Counts, hit: _Counts, total: _Counts) -> _Counts:
    # Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient", 2004.
    right, total = hit.sum(axis=1), total[:, 0]
    above = right * total - (true * found).sum(axis=1)
    below = (total**2 - (found**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
    return _divide(above, np.sqrt(below))


def _labels_mcc(true: _Counts, found: _Counts, hit: _Counts, total: _Counts) -> _Counts:
    below = true * found * (total - true) * (total - found)
    mean: _Counts = _divide(hit * total - true * found, np.sqrt(below)).mean(axis=1)
    return mean


def _divide(above: _Counts, below: _Counts) -> _Counts:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
