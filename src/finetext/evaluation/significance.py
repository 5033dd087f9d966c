"""Whether a difference between two classifiers on the same texts is more than chance."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from finetext.evaluation.resampling import difference_interval
from finetext.evaluation.results import BaselineComparison

Correct = NDArray[np.bool_]
"""`(N,)`, whether a classifier is right on each text."""


def mcnemar(first: Correct, second: Correct) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar, 1947) that two classifiers err equally often."""
    only_first, only_second = _right_alone(first, second)
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _right_alone(first: Correct, second: Correct) -> tuple[int, int]:
    return int((first & ~second).sum()), int((second & ~first).sum())


def compare_with_baseline(correct: Correct, baseline: Correct) -> BaselineComparison:
    """Compare a classifier with a baseline on the same texts."""
    difference = float(correct.mean() - baseline.mean())
    p_value = mcnemar(correct, baseline)
    alone = _right_alone(correct, baseline)
    return BaselineComparison(
        accuracy_difference=difference,
        accuracy_difference_interval=difference_interval(*alone, len(correct)) if any(alone) else None,
        mcnemar_p_value=p_value,
        verdict=verdict(p_value, difference),
    )


def verdict(p_value: float, difference: float) -> str:
    """Return `better`, `worse`, or `no difference shown` at the 5 % level, for a difference in accuracy."""
    if p_value >= 0.05 or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"
