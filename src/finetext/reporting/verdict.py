"""The verdict: how good the classifier is, and whether it beats what is simple."""

from collections.abc import Mapping
from typing import Any

from finetext.evaluation import MAJORITY, TFIDF
from finetext.reporting.blocks import Cell, Figures, Number, Row, Statement, Table
from finetext.reporting.folder import Material
from finetext.reporting.phrases import (
    NAMES,
    best_of,
    better_than,
    decimal,
    figure,
    figures_of,
    interval_of,
    listing,
    p_value,
    points,
    quoted,
    seconds,
    span,
    texts,
)

OURS = "finetext"
NO_INTERVAL = "no interval: resampling these texts does not change it"
FEW_TEXTS = 100
"""Below this many test texts the report says that the figures are rough."""


def in_order(baselines: Mapping[str, Any]) -> list[str]:
    """Return the baselines' names, the one to beat first and the trivial one last."""
    return sorted(baselines, key=lambda name: (name != TFIDF, name == MAJORITY))


def headline(figures: Figures) -> tuple[str, str]:
    """Return the verdict in a sentence, and its tone: better, worse or open."""
    comparisons = figures.get("comparisons") or {}
    if not comparisons:
        test = figures["test"]
        return f"Accuracy {decimal(test['accuracy'])} on {texts(test['examples'])}", "open"
    by_verdict: dict[str, list[str]] = {}
    for name in in_order(comparisons):
        by_verdict.setdefault(comparisons[name]["verdict"], []).append(_called(name))
    if lost := by_verdict.get("worse"):
        return f"Worse than {listing(lost)}", "worse"
    if level := by_verdict.get("no difference shown"):
        return f"Not shown to be better than {listing(level, last='or')}", "open"
    return f"Better than {listing(by_verdict['better'])}", "better"


def _called(name: str) -> str:
    return f"the {name}" if name == MAJORITY else name


def summary(material: Material) -> tuple[str, ...]:
    """Return the sentences under the headline."""
    figures = material.figures
    test, multi = figures["test"], material.task == "multi-label"
    what = "every label of" if multi else "the label of"
    accuracy, mcc = span(interval_of(test, "accuracy")), span(interval_of(test, "mcc"))
    sentences = [
        f"It gets {what} {decimal(test['accuracy'] * 100, 1)} % of {texts(test['examples'])} right: "
        f"accuracy {decimal(test['accuracy'])} (95 % interval {accuracy}), "
        f"MCC {decimal(test['mcc'])} ({f'95 % interval {mcc}' if mcc else NO_INTERVAL})."
    ]
    worst = [name for name, own in (figures.get("comparisons") or {}).items() if own["verdict"] == "worse"]
    if worst:
        sentences.append(_advice(figures, worst))
    for name in in_order(figures.get("comparisons") or {}):
        own = figures["comparisons"][name]
        if own["verdict"] == "no difference shown" and own["accuracy_difference"] < 0:
            higher = decimal(figures["baselines"][name]["accuracy"])
            sentences.append(
                f"{_capital(_called(name))} has the higher accuracy, {higher}; its lead can be chance."
            )
    if test["examples"] < FEW_TEXTS:
        sentences.append(f"With only {texts(test['examples'])} to test on, every figure here is rough.")
    return (*sentences, *_oddities(material))


def _advice(figures: Figures, worst: list[str]) -> str:
    """Say what to do where baselines have the better accuracy: a threshold may have been chosen for another figure."""
    test, rivals = figures["test"], [figures["baselines"][name] for name in worst]
    ahead = [
        _in_sentence(name)
        for name in ("balanced_accuracy", "macro_f1", "micro_f1", "mcc")
        if name in figures_of(figures["task"])
        and all(better_than(name, test.get(name), own.get(name)) for own in rivals)
    ]
    named = listing(map(_called, worst))
    if not ahead:
        return f"Use {named} instead, or look for what went wrong here."
    return (
        f"Worse in accuracy; against {named} it is ahead in {listing(ahead)}. Decide by the figure that matters to "
        f"you. If that is accuracy, use {named} instead."
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _oddities(material: Material) -> list[str]:
    """Say what makes the figures mean less than they seem to."""
    classes = material.figures["test"]["classes"]
    said = []
    absent = [quoted(own["name"]) for own in classes if not own["support"]]
    if absent:
        said.append(f"The test split has no text of {listing(absent)}: nothing is known about that.")
    confusion = material.figures["test"]["confusion"]
    if confusion is not None:
        predicted = [
            classes[i]["name"] for i, column in enumerate(zip(*confusion, strict=True)) if sum(column)
        ]
        if len(predicted) == 1:
            said.append(f"It says {quoted(predicted[0])} of every text.")
    return said


def statements(figures: Figures) -> tuple[Statement, ...]:
    """Return the comparison with each baseline in words."""
    comparisons = figures.get("comparisons") or {}
    return tuple(
        Statement(comparisons[name]["verdict"], _called(name), _compare(figures, name))
        for name in in_order(comparisons)
    )


def _compare(figures: Figures, name: str) -> str:
    own, test, other = figures["comparisons"][name], figures["test"], figures["baselines"][name]
    interval = own.get("accuracy_difference_interval")
    ends = f" (95 % interval {points(interval[0])} to {points(interval[1])})" if interval else ""
    said = (
        f"Accuracy {decimal(test['accuracy'])} against {decimal(other['accuracy'])}: "
        f"{points(own['accuracy_difference'])} points{ends}. McNemar’s exact test on the same "
        f"{texts(test['examples'])}: {p_value(own['mcnemar_p_value'])}."
    )
    if "accuracy_difference_interval" in own and interval is None:
        said += " Both are right on the very same texts."
    elif own["verdict"] == "no difference shown":
        said += " A difference of this size can be chance; it may be real all the same."
    task = "multi-label" if test["confusion"] is None else "other"
    ahead = [_in_sentence(f) for f in figures_of(task) if better_than(f, other.get(f), test.get(f))]
    if ahead:
        said += f" The baseline is ahead in {listing(ahead, 20)}."
    return said


def _in_sentence(name: str) -> str:
    label = NAMES[name]
    return label if label.isupper() or "AUC" in label or "Hamming" in label else label[0].lower() + label[1:]


def figures_table(material: Material) -> Table:
    """Return all figures of the classifier and the baselines, a row a figure."""
    figures = material.figures
    baselines = figures.get("baselines") or {}
    classifiers = {OURS: figures["test"]} | {name: baselines[name] for name in in_order(baselines)}
    prefixes = {name: "test" if name == OURS else f"baselines.{name}" for name in classifiers}
    rows = []
    for name in figures_of(material.task):
        best = best_of(name, classifiers)
        cells = [figure(own, name, prefixes[who], who == best) for who, own in classifiers.items()]
        if any(cell.value is not None for cell in cells):
            rows.append(Row((NAMES[name], *cells)))
    rows += _cost_rows(figures.get("costs") or {}, list(classifiers))
    test = figures["test"]
    return Table(
        f"Test split, {texts(test['examples'])}",
        ("", *classifiers),
        tuple(rows),
        "Below a figure stands its 95 % interval, where it has one; bold is the best of a row. Lower is better for "
        f"log loss{', Hamming loss' if material.task == 'multi-label' else ''} and calibration error.",
    )


def _cost_rows(costs: Mapping[str, Mapping[str, float | None]], classifiers: list[str]) -> list[Row]:
    rows = []
    for key, label in (("train_seconds", "Training time"), ("seconds_per_1000", "Time for 1,000 texts")):
        cells: list[Cell] = []
        for name in classifiers:
            value = (costs.get(name) or {}).get(key)
            if value is None:
                cells.append(Number(None, "–"))
            else:
                cells.append(Number(value, seconds(value), f"costs.{name}.{key}"))
        if any(isinstance(cell, Number) and cell.value is not None for cell in cells):
            rows.append(Row((label, *cells)))
    return rows
