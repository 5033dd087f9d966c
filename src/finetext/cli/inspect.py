"""`finetext inspect`."""

from pathlib import Path
from typing import Annotated

from rich.table import Column, Table
from rich.text import Text

from finetext import experiments, files
from finetext.cli.arguments import Data, Seed, Source
from finetext.cli.console import note, write, write_json
from finetext.cli.progress import ConsoleProgress
from finetext.data import DataConfig
from finetext.errors import UsageError
from finetext.options import Parameter

FOLDS = 5
TOP = 10
STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


def inspect(
    source: Source,
    /,
    *,
    model: str | None = None,
    label_errors: Annotated[bool, Parameter(negative=())] = False,
    folds: int = FOLDS,
    top: int = TOP,
    issues: Path | None = None,
    seed: Seed = 42,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    data: Data = DataConfig(),
) -> None:
    """Check labelled text before any training: what is missing, duplicated, contradictory or too long.

    Args:
        model: Also count the texts that exceed this model's limit, and the tokens lost. With --label-errors, the
            model whose hidden states are used; by default minilm.
        label_errors: Also look for wrong labels, near-duplicates, and outliers. Needs cleanlab:
            `pip install "finetext[label-errors]"`.
        folds: Number of cross-validation folds for out-of-fold label scores.
        top: How many of the most suspicious examples of each kind to print.
        issues: Write all of them to this CSV file.
        json: Write the findings to this file as JSON; `-` prints them instead of the tables.
    """
    idle = {"--folds": folds != FOLDS, "--top": top != TOP, "--issues": issues is not None}
    if not label_errors and any(idle.values()):
        flags = ", ".join(flag for flag, typed in idle.items() if typed)
        raise UsageError(f"{flags}: does nothing without --label-errors. Add it.")
    with ConsoleProgress() as progress:
        result = experiments.inspect(
            source, data, model=model, label_errors=label_errors, folds=folds, seed=seed, progress=progress
        )
    if json == Path("-"):
        write_json(result.to_dict())
    elif json is not None:
        files.write_json(json, result.to_dict())
    if result.issues is not None and issues is not None:
        result.issues.write_csv(issues)
    if json != Path("-"):
        _print(result, top)
    result.dataset.findings.refuse_errors(result.dataset.source.name)


def _print(result: "experiments.Inspection", top: int) -> None:
    write(*(f"{name:<10} {text}" for name, text in _summary(result)))
    write(_class_table(result), _finding_table(result))
    if result.issues is not None:
        write(_issue_table(result.issues, top))
        for text in result.issues.notes:
            note(text)


def _summary(result: "experiments.Inspection") -> list[tuple[str, str]]:
    dataset, source, findings = result.dataset, result.dataset.source, result.dataset.findings
    synthetic = " (synthetic: written for finetext, its metrics say nothing about real messages)"
    lines = [
        ("source", source.name + (synthetic if source.synthetic else "")),
        ("columns", f"text: {source.text_column} · label: {source.label_column} · format: {source.format}"),
        ("examples", f"{findings.examples:,}, {dataset.task}, {len(dataset.class_names)} classes"),
    ]
    if findings.characters:
        lengths = " · ".join(f"{name} {value:,.0f}" for name, value in findings.characters)
        lines.append(("characters", lengths))
    if result.splits is not None:
        sizes = " · ".join(f"{name} {size:,}" for name, size in result.split_sizes.items())
        lines += [("splits", sizes), *(("", text) for text in result.splits.notes)]
    return lines


def _class_table(result: "experiments.Inspection") -> Table:
    right = [Column(name, justify="right") for name in ("texts", "share")]
    table = Table("class", *right, title="Classes", title_justify="left")
    for name, count in result.dataset.findings.classes:
        table.add_row(name, f"{count:,}", f"{count / max(len(result.dataset), 1):.1%}")
    return table


def _finding_table(result: "experiments.Inspection") -> Table:
    columns = ("check", "", Column("count", justify="right"), "first rows", "what it means")
    table = Table(*columns, title="Checks", title_justify="left")
    for item in result.dataset.findings.items:
        severity = Text(item.severity, style=STYLES[item.severity])
        rows = ", ".join(map(str, item.first_rows))
        table.add_row(item.name, severity, f"{item.count:,}", rows, item.detail)
    return table


def _issue_table(issues: "experiments.DataIssues", top: int) -> Table:
    table = Table(title="To look at", title_justify="left", expand=True)
    for name in ("kind", "row", "label", "suggested", "score"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("row", "score") else "left")
    table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
    for issue in (issue for kind in experiments.KINDS for issue in issues.of(kind)[:top]):
        labels, suggested = "|".join(issue.labels), "|".join(issue.suggested or ())
        text = " ".join(issues.dataset.texts[issue.index].split())
        table.add_row(issue.kind, str(issue.row), labels, suggested, f"{issue.score:.3f}", text)
    return table
