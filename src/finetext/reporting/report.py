"""`write_report()`: from a folder's files to one page and its plots."""

from pathlib import Path

from finetext import files
from finetext.reporting import provenance, quality, svg, verdict
from finetext.reporting.blocks import Figures, Report, Section
from finetext.reporting.folder import Material, read_folder
from finetext.reporting.phrases import texts
from finetext.runs import RunFolder


def write_report(folder: Path, figures: Figures, command: str) -> None:
    """Write `report.html` and `plots/` into a run folder or an evaluation's folder.

    Args:
        folder: Holds what the report is about; what is not there is left out of it.
        figures: What `metrics.json` holds, which is a run's last file.
        command: What repeats it; empty if nothing does.

    Raises:
        RunError: The disk is full.
        UsageError: The folder cannot be written to.
    """
    report = build_report(read_folder(folder, figures), command)
    place = RunFolder(folder)
    for own in report.drawings:
        files.write_text(place.plots / f"{own.name}.svg", own.svg)
        files.write_bytes(place.plots / f"{own.name}.png", own.png)
    files.write_text(place.report, render(report))


def build_report(material: Material, command: str) -> Report:
    """Return a report in its order."""
    line, tone = verdict.headline(material.figures)
    with svg.style():
        sections = (
            Section("figures", "Figures", (verdict.figures_table(material),)),
            provenance.folds(material),
            provenance.training(material),
            quality.confusion(material),
            quality.probabilities(material),
            quality.decision(material),
            quality.mistakes(material),
            provenance.data(material),
            provenance.repetition(material, command),
        )
    return Report(
        " · ".join(filter(None, (material.data_name, material.model_name))),
        _subtitle(material),
        bool(material.figures.get("synthetic_data")),
        line,
        tone,
        verdict.summary(material),
        verdict.statements(material.figures),
        tuple(own for own in sections if own is not None and own.blocks),
        str(material.environment.get("versions", {}).get("finetext", "")),
    )


def _subtitle(material: Material) -> str:
    examples = material.figures.get("examples") or {}
    sizes = " · ".join(
        f"{name} {examples[name]:,}" for name in ("train", "validation", "test") if name in examples
    )
    classes = f"{material.task} classification, {len(material.class_names)} classes"
    return f"{classes} · {sizes or texts(material.figures['test']['examples'])}"


def render(report: Report) -> str:
    """Return a report as one HTML page that needs nothing else."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("finetext.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(report=report)
