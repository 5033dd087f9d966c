"""`write_report()`: from a folder's files to one page and its plots."""

from pathlib import Path

from finetext import files
from finetext.evaluation import RunMetrics
from finetext.reporting import provenance, quality, svg, verdict
from finetext.reporting.elements import Report, Section
from finetext.reporting.folder import SPLITS, ReportInputs, read_folder
from finetext.reporting.phrases import texts
from finetext.reporting.rendering import render
from finetext.runs import RunFolder


def write_report(path: Path, metrics: RunMetrics, command: str) -> None:
    """Write `report.html` and `plots/` into a run folder or an evaluation's folder.

    Args:
        path: The folder; the report leaves out what it does not contain.
        metrics: The content of `metrics.json`, which a run writes last.
        command: The command that reproduces it; empty if there is none.

    Raises:
        RunError: The disk is full.
        UsageError: The folder cannot be written to.
    """
    report = build_report(read_folder(path, metrics), command)
    folder = RunFolder(path)
    for plot in report.plots:
        files.write_text(folder.plots / f"{plot.name}.svg", plot.svg)
        files.write_bytes(folder.plots / f"{plot.name}.png", plot.png)
    files.write_text(folder.report, render("report.html", report=report))


def build_report(inputs: ReportInputs, command: str) -> Report:
    """Return a report with its sections in order."""
    metrics = inputs.metrics
    headline, tone = verdict.headline(metrics)
    with svg.style():
        sections = (
            Section("metrics", "Metrics", (verdict.metrics_table(inputs),)),
            provenance.folds(metrics),
            provenance.training(inputs),
            quality.confusion(inputs),
            quality.probabilities(inputs),
            quality.decision(inputs),
            quality.mistakes(inputs),
            provenance.data(inputs),
            provenance.reproduction(inputs, command),
        )
    sizes = " · ".join(f"{name} {metrics.examples[name]:,}" for name in SPLITS if name in metrics.examples)
    task = f"{metrics.task} classification, {len(metrics.class_names)} classes"
    return Report(
        title=" · ".join(filter(None, (inputs.data_name, inputs.model_name))),
        subtitle=f"{task} · {sizes or texts(metrics.test.examples)}",
        synthetic=metrics.synthetic_data,
        headline=headline,
        tone=tone,
        summary=verdict.summary(metrics),
        statements=verdict.statements(metrics),
        sections=tuple(section for section in sections if section is not None and section.elements),
        version=str(inputs.environment.get("versions", {}).get("finetext", "")),
    )
