"""The verdict: how good the classifier is, and whether it beats the baselines."""

from collections.abc import Iterable, Mapping

from finetext.evaluation import MAJORITY, TFIDF, Metrics, RunMetrics
from finetext.metric_names import METRICS, metrics_of
from finetext.reporting.elements import Number, Row, Table
from finetext.reporting.folder import ReportInputs
from finetext.reporting.phrases import (
    best_of,
    better_than,
    decimal,
    listing,
    metric_cell,
    p_value,
    percent,
    points,
    quoted,
    seconds,
    span,
    texts,
)

OURS = "finetext"
NO_INTERVAL = "no interval: resampling these texts does not change it"
FEW_TEXTS = 100
"""With fewer test texts the report calls every metric rough."""


def in_order(baselines: Iterable[str]) -> list[str]:
    """Return the baselines' names, the one to beat first and the trivial one last."""
    return sorted(baselines, key=lambda name: (name != TFIDF, name == MAJORITY))


def headline(metrics: RunMetrics) -> tuple[str, str]:
    """Return the verdict in a sentence, and its tone: better, worse or open."""
    if not metrics.comparisons:
        return f"Accuracy {decimal(metrics.test.accuracy)} on {texts(metrics.test.examples)}", "open"
    by_verdict: dict[str, list[str]] = {}
    for name in in_order(metrics.comparisons):
        by_verdict.setdefault(metrics.comparisons[name].verdict, []).append(_with_article(name))
    if lost := by_verdict.get("worse"):
        return f"Worse than {listing(lost)}", "worse"
    if level := by_verdict.get("no difference shown"):
        return f"Not shown to be better than {listing(level, last='or')}", "open"
    return f"Better than {listing(by_verdict['better'])}", "better"


def _with_article(name: str) -> str:
    return f"the {name}" if name == MAJORITY else name


def summary(metrics: RunMetrics) -> tuple[str, ...]:
    """Return the sentences under the headline."""
    test = metrics.test
    multi = metrics.task == "multi-label"
    verb, adverb = ("gets every label of", "right") if multi else ("labels", "correctly")
    accuracy, mcc = span(test.interval("accuracy")), span(test.interval("mcc"))
    sentences = [
        f"It {verb} {percent(test.accuracy)} of {texts(test.examples)} {adverb}: "
        f"accuracy {decimal(test.accuracy)} (95 % interval {accuracy}), "
        f"MCC {decimal(test.mcc)} ({f'95 % interval {mcc}' if mcc else NO_INTERVAL})."
    ]
    worse_than = [name for name, other in metrics.comparisons.items() if other.verdict == "worse"]
    if worse_than:
        sentences.append(_advice(metrics, worse_than))
    for name in in_order(metrics.comparisons):
        comparison = metrics.comparisons[name]
        if comparison.verdict == "no difference shown" and comparison.accuracy_difference < 0:
            subject = _with_article(name)
            sentences.append(
                f"{subject[0].upper()}{subject[1:]} has the higher accuracy, "
                f"{decimal(metrics.baselines[name].accuracy)}; its lead can be chance."
            )
    if test.examples < FEW_TEXTS:
        sentences.append(f"With only {texts(test.examples)} to test on, every number here is rough.")
    absent = [quoted(label.name) for label in test.classes if not label.support]
    if absent:
        sentences.append(
            f"The test split has no text of {listing(absent)}: how well it recognises that is unknown."
        )
    if test.confusion is not None:
        columns = zip(test.classes, zip(*test.confusion, strict=True), strict=True)
        predicted = [label.name for label, column in columns if sum(column)]
        if len(predicted) == 1:
            sentences.append(f"It predicts {quoted(predicted[0])} for every text.")
    return tuple(sentences)


def _advice(metrics: RunMetrics, worse_than: list[str]) -> str:
    """Say what to do where baselines have the better accuracy: thresholds may have been chosen for another metric."""
    rivals = [metrics.baselines[name] for name in worse_than]
    ahead = [
        METRICS[name].text
        for name in ("balanced_accuracy", "macro_f1", "micro_f1", "mcc")
        if name in metrics_of(metrics.task)
        and all(better_than(name, metrics.test, rival) for rival in rivals)
    ]
    named = listing(map(_with_article, worse_than))
    if not ahead:
        return f"Use {named} instead, or look for what went wrong here."
    return (
        f"Worse in accuracy; against {named} it is ahead in {listing(ahead)}. Decide by the metric that matters to "
        f"you. If that is accuracy, use {named} instead."
    )


def statements(metrics: RunMetrics) -> list[tuple[str, str, str]]:
    """Return the verdict against each baseline, the baseline, and the comparison in words."""
    return [
        (metrics.comparisons[name].verdict, _with_article(name), _compare(metrics, name))
        for name in in_order(metrics.comparisons)
    ]


def _compare(metrics: RunMetrics, name: str) -> str:
    comparison, test, baseline = metrics.comparisons[name], metrics.test, metrics.baselines[name]
    interval = comparison.accuracy_difference_interval
    ends = f" (95 % interval {points(interval[0])} to {points(interval[1])})" if interval else ""
    sentences = [
        f"Accuracy {decimal(test.accuracy)} against {decimal(baseline.accuracy)}: "
        f"{points(comparison.accuracy_difference)} points{ends}. McNemar’s exact test on the same "
        f"{texts(test.examples)}: {p_value(comparison.mcnemar_p_value)}."
    ]
    if interval is None and comparison.accuracy_difference == 0:
        sentences.append("Both are right on exactly the same texts.")
    elif comparison.verdict == "no difference shown":
        sentences.append("A difference of this size can be chance; it may be real all the same.")
    ahead = [METRICS[f].text for f in metrics_of(metrics.task) if better_than(f, baseline, test)]
    if ahead:
        sentences.append(f"The baseline is ahead in {listing(ahead, 20)}.")
    return " ".join(sentences)


def classifiers(metrics: RunMetrics) -> dict[str, Metrics]:
    """Return the metrics of the classifier and of the baselines, by the heading of their column."""
    return {OURS: metrics.test} | {name: metrics.baselines[name] for name in in_order(metrics.baselines)}


def metrics_table(inputs: ReportInputs) -> Table:
    """Return all metrics of the classifier and the baselines, a row per metric."""
    metrics, columns = inputs.metrics, classifiers(inputs.metrics)
    prefixes = {name: "test" if name == OURS else f"baselines.{name}" for name in columns}
    rows: list[Row] = []
    for name in metrics_of(metrics.task):
        best = best_of(name, columns)
        cells = [metric_cell(column, name, prefixes[who], who == best) for who, column in columns.items()]
        if any(cell.value is not None for cell in cells):
            rows.append((METRICS[name].title, *cells))
    rows += _cost_rows(inputs.costs, columns)
    hamming = ", Hamming loss" if metrics.task == "multi-label" else ""
    return Table(
        f"Test split, {texts(metrics.test.examples)}",
        ("", *columns),
        rows,
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
