"""`write_report()`: from a folder's files to one page and its plots."""

from pathlib import Path

from finetext import files
from finetext.evaluation import RunMetrics
from finetext.reporting import provenance, quality, svg, verdict
from finetext.reporting.elements import Element, Plot
from finetext.reporting.folder import read_folder
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
    inputs, folder = read_folder(path, metrics), RunFolder(path)
    with svg.style():
        sections: list[tuple[str, str, list[Element]]] = [
            ("metrics", "Metrics", [verdict.metrics_table(inputs)]),
            ("folds", "Cross-validation", provenance.folds(metrics)),
            ("training", "Training", provenance.training(inputs)),
            ("classes", "Labels" if inputs.multi else "Confusion and classes", quality.confusion(inputs)),
            ("probabilities", "Probabilities", quality.probabilities(inputs)),
            ("decision", "Decision", quality.decision(inputs)),
            ("mistakes", "Most confident mistakes", quality.mistakes(inputs)),
            ("data", "Data", provenance.data(inputs)),
            ("reproduction", "Reproducing it", provenance.reproduction(inputs, command)),
        ]
    for _, _, elements in sections:
        for plot in elements:
            if isinstance(plot, Plot):
                files.write_text(folder.plots / f"{plot.name}.svg", plot.svg)
                files.write_bytes(folder.plots / f"{plot.name}.png", plot.png)
    headline, tone = verdict.headline(metrics)
    page = render(
        "report.html",
        inputs=inputs,
        metrics=metrics,
        headline=headline,
        tone=tone,
        summary=verdict.summary(metrics),
        statements=verdict.statements(metrics),
        sections=sections,
    )
    files.write_text(folder.report, page)
