"""The sections on how the classifier came about: training, data, configuration, environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from finetext.data import fold
from finetext.evaluation import DataSummary, RunMetrics
from finetext.metric_names import METRICS
from finetext.reporting import plots
from finetext.reporting.elements import Code, Element, Number, Row, Table
from finetext.reporting.folder import Floats, ReportInputs
from finetext.reporting.phrases import count, decimal_cell, listing, percent, quoted, seconds
from finetext.reporting.rendering import paragraphs, sentences

DRAWN_CLASSES = 12
"""Up to how many classes their shares are drawn."""
CLASSES_OF_LENGTHS = 6
"""Up to how many classes lengths are drawn class by class."""


def training(inputs: ReportInputs) -> list[Element]:
    """Return the course of the training."""
    history, best, examples = inputs.history, inputs.metrics.best, inputs.metrics.examples
    per_epoch = examples.get("train_after_balancing") or examples.get("train")
    if history is None or history.is_empty() or not per_epoch:
        return []
    # Averaged weights and those of the linear probe have no place on the axis.
    kept = best.epoch or None if best is not None and not best.averaged_epochs else None
    elements: list[Element] = [plots.losses(history, per_epoch, kept)]
    if history["validation_loss"].count():
        elements.append(plots.scores(history, per_epoch, kept))
    if best is not None:
        elements.append(sentences("kept_weights", best=best, metric=METRICS[best.metric].text))
    return elements


def folds(metrics: RunMetrics) -> list[Element]:
    """Return the metrics of a cross-validation."""
    if metrics.folds is None:
        return []
    rows: list[Row] = []
    for name, metric in metrics.folds.metrics.items():
        key = f"folds.metrics.{name}"
        cells = [decimal_cell(metric.mean, f"{key}.mean"), decimal_cell(metric.std, f"{key}.std")]
        cells += [decimal_cell(value, f"{key}.values.{i}") for i, value in enumerate(metric.values)]
        rows.append((METRICS[name].title, *cells))
    k = metrics.folds.k
    return [Table(f"{k} folds", ("", "mean", "std. dev.", *(f"fold {i + 1}" for i in range(k))), rows)]


def data(inputs: ReportInputs) -> list[Element]:
    """Return lengths, classes, leakage and the outcome of the checks."""
    return [*_lengths(inputs), *_classes(inputs), *leakage(inputs), *_findings(inputs.metrics.data)]


def _lengths(inputs: ReportInputs) -> list[Element]:
    names, multi = inputs.metrics.class_names, inputs.multi
    if inputs.splits:
        every = pl.concat([split.select("text", "label") for split in inputs.splits.values()])
        lengths = every["text"].str.len_chars().to_numpy().astype(np.float64)
        members = [] if multi else [(every["label"] == name).to_numpy() for name in names]
    elif inputs.predictions is not None:
        lengths = np.array([len(text) for text in inputs.predictions.texts], dtype=np.float64)
        members = [] if multi else [inputs.predictions.targets == c for c in range(len(names))]
    else:
        return []
    if not len(lengths):
        return []
    by_class: dict[str, Floats] = {}  # stays empty for multi-label
    if len(members) <= CLASSES_OF_LENGTHS:
        by_class = {name: lengths[rows] for name, rows in zip(names, members, strict=False)}
    medians = [f"{np.median(part):,.0f} for {quoted(name)}" for name, part in by_class.items() if len(part)]
    finding = sentences("lengths", lengths=lengths, median=np.median(lengths), by_class=medians)
    return [plots.lengths(by_class or {"all": lengths}, finding)]


def _classes(inputs: ReportInputs) -> list[Element]:
    if not inputs.splits:
        return []
    names = inputs.metrics.class_names
    counts = inputs.class_counts()
    totals = {name: len(split) for name, split in inputs.splits.items()}
    shares = {
        split: {name: counts[split][name] / max(totals[split], 1) for name in names} for split in counts
    }
    rows: list[Row] = [
        (name, *(count(counts[split][name], below=percent(shares[split][name])) for split in counts))
        for name in names
    ]
    rows.append(("all texts", *(count(n, f"examples.{split}") for split, n in totals.items())))
    note = "A text can have several labels, or none." if inputs.multi else ""
    table = Table("Texts of each class", ("", *counts), rows, note, long=len(rows) > 30)
    if len(names) > DRAWN_CLASSES:
        return [table]
    split, first = next(iter(shares.items()))
    largest, smallest = max(first, key=first.__getitem__), min(first, key=first.__getitem__)
    apart = max(abs(other[name] - first[name]) for other in shares.values() for name in other)
    finding = sentences(
        "class_shares", split=split, largest=largest, smallest=smallest, shares=first, apart=apart
    )
    return [plots.class_shares(shares, names, finding), table]


def leakage(inputs: ReportInputs) -> list[str]:
    """Say whether test texts are in the training split too, judged by the folder's own files."""
    if not {"train", "test"} <= set(inputs.splits):
        return []
    train, test = (list(map(fold, inputs.splits[name]["text"])) for name in ("train", "test"))
    known = set(train)
    shared, repeated = sum(key in known for key in test), len(train) - len(known)
    return paragraphs("leakage", shared=shared, repeated=repeated, splits=inputs.splits)


def _findings(summary: DataSummary) -> list[Element]:
    elements: list[Element] = []
    present = [(index, finding) for index, finding in enumerate(summary.findings) if finding.count]
    if present:
        rows = [
            (
                finding.name.replace("-", " "),
                count(finding.count, f"data.findings.{index}.count"),
                ", ".join(map(str, finding.first_rows)),
                finding.detail,
            )
            for index, finding in present
        ]
        serious = [i for i, (_, finding) in enumerate(present) if finding.severity in ("warning", "error")]
        headings = ("", "count", "first rows", "what it means")
        elements.append(Table("What the checks found", headings, rows, marked=serious))
    if clean := [finding.name.replace("-", " ") for finding in summary.findings if not finding.count]:
        elements.append(f"Looked for and not found: {listing(clean, 20)}.")
    if pairs := summary.characters:
        cells = (Number(n, f"{n:,.6g}", f"data.characters.{i}.1") for i, (_, n) in enumerate(pairs))
        columns = ("", *(name for name, _ in pairs))
        elements.append(Table("Length in characters", columns, [("texts", *cells)]))
    return elements


def reproduction(inputs: ReportInputs, command: str) -> list[Element]:
    """Return the command that reproduces it, the configuration and the environment."""
    elements: list[Element] = [Code(command)] if command else []
    for name, options in inputs.config.items():
        rows = [(option, _shown(value)) for option, value in options.items()]
        elements.append(Table(f"Configuration: [{name}]", ("option", "value"), rows, half=True))
    if inputs.environment:
        elements.append(Table("Environment", ("what", "value"), _flat(inputs.environment), half=True))
    return elements


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_shown(part)}" for name, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the environment's entries as names and values, without the command, which is shown above."""
    pairs = []
    for name, value in environment.items():
        label, show = ("time", seconds) if name == "seconds" else (name, _shown)
        for key, part in value.items() if isinstance(value, Mapping) else [("", value)]:
            if part is not None and name != "command":
                pairs.append((", ".join(filter(None, (label, key))).replace("_", " "), show(part)))
    return pairs
