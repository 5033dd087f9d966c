"""The verdict: how good the classifier is, and whether it beats the baselines."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from finetext.evaluation import MAJORITY, TFIDF, Metrics, RunMetrics
from finetext.metric_names import METRICS, higher_is_better, metrics_of
from finetext.reporting.elements import Number, Row, Table
from finetext.reporting.folder import ReportInputs
from finetext.reporting.phrases import decimal, listing, metric_cell, quoted, seconds, texts, the
from finetext.reporting.rendering import paragraphs, sentences

OURS = "finetext"
BEYOND_ACCURACY = ("balanced_accuracy", "macro_f1", "micro_f1", "mcc")
"""What may speak for a classifier of lower accuracy: thresholds may have been chosen for another metric."""


Value = TypeVar("Value")


def in_order(by_baseline: Mapping[str, Value]) -> dict[str, Value]:
    """Return what each baseline has, the one to beat first and the trivial one last."""
    return dict(sorted(by_baseline.items(), key=lambda pair: (pair[0] != TFIDF, pair[0] == MAJORITY)))


def headline(metrics: RunMetrics) -> tuple[str, str]:
    """Return the verdict in a sentence, and its tone: better, worse or open."""
    if not metrics.comparisons:
        return f"Accuracy {decimal(metrics.test.accuracy)} on {texts(metrics.test.examples)}", "open"
    by_verdict: dict[str, list[str]] = {}
    for name, compared in in_order(metrics.comparisons).items():
        by_verdict.setdefault(compared.verdict, []).append(the(name))
    if lost := by_verdict.get("worse"):
        return f"Worse than {listing(lost)}", "worse"
    if level := by_verdict.get("no difference shown"):
        return f"Not shown to be better than {listing(level, last='or')}", "open"
    return f"Better than {listing(by_verdict['better'])}", "better"


def summary(metrics: RunMetrics) -> list[str]:
    """Return the paragraphs under the headline."""
    test, comparisons = metrics.test, metrics.comparisons
    worse = [name for name, compared in comparisons.items() if compared.verdict == "worse"]
    return paragraphs(
        "summary",
        metrics=metrics,
        worse=worse,
        ahead=_ahead(metrics.task, test, *(metrics.baselines[name] for name in worse), among=BEYOND_ACCURACY),
        leading=[
            name
            for name, compared in in_order(comparisons).items()
            if compared.verdict == "no difference shown" and compared.accuracy_difference < 0
        ],
        predicted=[
            label.name
            for label, *column in zip(test.classes, *(test.confusion or ()), strict=True)
            if any(column)
        ],
    )


def decision(metrics: RunMetrics) -> list[str]:
    """Return how probabilities become labels, in paragraphs."""
    limits = metrics.decision.thresholds or ()
    names = metrics.class_names[-len(limits) :]  # of a binary task the second class alone
    shown = [f"{quoted(name)} from {limit:.4g}" for name, limit in zip(names, limits, strict=False)]
    return paragraphs("decision", metrics=metrics, limits=shown)


def statements(metrics: RunMetrics) -> list[tuple[str, str, str]]:
    """Return the verdict against each baseline, `than` or `from` that baseline, and the comparison in words."""
    listed = []
    for name, compared in in_order(metrics.comparisons).items():
        test, baseline = metrics.test, metrics.baselines[name]
        ahead = _ahead(metrics.task, baseline, test)
        text = sentences("comparison", test=test, baseline=baseline, compared=compared, ahead=ahead)
        than = "from" if compared.verdict == "no difference shown" else "than"
        listed.append((compared.verdict, f"{than} {the(name)}", text))
    return listed


def _ahead(task: str, first: Metrics, *others: Metrics, among: Iterable[str] = METRICS) -> list[str]:
    """Return the metrics in which the first classifier is better than all others."""
    return [
        METRICS[name].text
        for name in among
        if name in metrics_of(task)
        and all(_best_of(name, {"first": first, "other": other}) == "first" for other in others)
    ]


def _best_of(name: str, classifiers: Mapping[str, Metrics]) -> str | None:
    """Return which classifier has the best value of a metric as shown, None if two share it or there is one only."""
    values = {who: metrics.value(name) for who, metrics in classifiers.items()}
    shown = {who: round(value, 4) for who, value in values.items() if value is not None}
    best = (max if higher_is_better(name) else min)(shown.values(), default=None)
    winners = [who for who, value in shown.items() if value == best]
    return winners[0] if len(winners) == 1 < len(shown) else None


def classifiers(metrics: RunMetrics) -> dict[str, Metrics]:
    """Return the metrics of the classifier and of the baselines, by the heading of their column."""
    return {OURS: metrics.test} | in_order(metrics.baselines)


def metric_rows(metrics: RunMetrics) -> list[Row]:
    """Return the metrics of the classifier and the baselines, a row per metric that any of them has."""
    columns = classifiers(metrics)
    prefixes = {name: "test" if name == OURS else f"baselines.{name}" for name in columns}
    rows: list[Row] = []
    for name in metrics_of(metrics.task):
        best = _best_of(name, columns)
        cells = [metric_cell(column, name, prefixes[who], who == best) for who, column in columns.items()]
        if any(cell.value is not None for cell in cells):
            rows.append((METRICS[name].title, *cells))
    return rows


def metrics_table(inputs: ReportInputs) -> Table:
    """Return all metrics and costs of the classifier and the baselines."""
    metrics, columns = inputs.metrics, classifiers(inputs.metrics)
    hamming = ", Hamming loss" if metrics.task == "multi-label" else ""
    return Table(
        f"Test split, {texts(metrics.test.examples)}",
        ("", *columns),
        [*metric_rows(metrics), *_cost_rows(inputs.costs, columns)],
        "Below a metric stands its 95 % interval, where it has one; bold is the best of a row. Lower is better for "
        f"log loss{hamming} and calibration error.",
    )


def _cost_rows(costs: Mapping[str, Mapping[str, float]], classifiers: Iterable[str]) -> list[Row]:
    rows: list[Row] = []
    for key, label in (("train_seconds", "Training time"), ("seconds_per_1000", "Time for 1,000 texts")):
        values = {name: costs.get(name, {}).get(key) for name in classifiers}
        cells = (
            Number(None, "–") if value is None else Number(value, seconds(value), f"costs.{name}.{key}")
            for name, value in values.items()
        )
        if any(value is not None for value in values.values()):
            rows.append((label, *cells))
    return rows
