"""The metrics of a run in sentences."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from finetext import evaluation, reporting
from finetext.metric_names import HEADLINE_METRICS, METRICS

if TYPE_CHECKING:
    from finetext.evaluation import BaselineComparison, CrossValidation, Metrics, RunMetrics


def conclusions(metrics: "RunMetrics") -> Iterator[str]:
    """Yield the sentences under the table of a run: comparisons, decision rule, cross-validation."""
    yield f"MCC {metrics.test.mcc:.3f}{interval(metrics.test, 'mcc')}."
    for name, comparison in metrics.comparisons.items():
        if name != evaluation.MAJORITY:
            yield f"Against {name}: {verdict(comparison)}"
    yield from decision(metrics)
    if metrics.folds:
        yield cross_validation(metrics.folds)


def verdict(comparison: "BaselineComparison") -> str:
    """Return what the paired test says about the model and a baseline."""
    words = {"better": "finetext is better", "worse": "finetext is worse"}
    says = words.get(comparison.verdict, "no difference shown")
    if comparison.accuracy_difference_interval is None:
        return f"{says}: both are right on the very same texts."
    low, high = comparison.accuracy_difference_interval
    return (
        f"{says} ({comparison.accuracy_difference * 100:+.1f} points of accuracy, 95 % {low * 100:+.1f} to "
        f"{high * 100:+.1f}; McNemar's exact test p = {comparison.mcnemar_p_value:.2g})."
    )


def interval(metrics: "Metrics", name: str) -> str:
    """Return a metric's 95 % interval in brackets, or nothing where it has none."""
    ends = metrics.interval(name)
    return "" if ends is None else f" (95 % {ends[0]:.3f}–{ends[1]:.3f})"


def decision(metrics: "RunMetrics") -> list[str]:
    """Return how probabilities become labels, where that was asked for."""
    rule = metrics.decision
    asked = rule.temperature is not None or rule.thresholds is not None or rule.abstain_below is not None
    return reporting.decision(metrics) if asked else []


def count(texts: int) -> str:
    """Return `1 text` or `300 texts`."""
    return f"{texts:,} text{'' if texts == 1 else 's'}"


def cross_validation(folds: "CrossValidation") -> str:
    """Return mean and standard deviation over folds."""
    shown = ", ".join(
        f"{METRICS[name].text} {folds.metrics[name].mean:.4f} ± {folds.metrics[name].std:.4f}"
        for name in HEADLINE_METRICS
        if name in folds.metrics
    )
    return (
        f"{folds.k}-fold cross-validation over {folds.examples:,} texts: {shown} (mean ± standard deviation)."
    )
