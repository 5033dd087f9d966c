"""`finetext inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from finetext.data.config import DataConfig
from finetext.options import Parameter, section

if TYPE_CHECKING:
    from rich.table import Table

    from finetext.data import Dataset, Splits
    from finetext.experiments import Faults

SEED = 42
FOLDS = 5
TOP = 10
STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


def inspect(
    source: str,
    /,
    *,
    model: str | None = None,
    label_errors: Annotated[bool, Parameter(negative=())] = False,
    folds: int = FOLDS,
    top: int = TOP,
    issues: Path | None = None,
    seed: int = SEED,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Check labelled text before any training: what is missing, doubled, contradictory or too long.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and
            test files, `hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`.
        model: Also count the texts that are longer than this model's limit, and the tokens lost. With
            --label-errors, the model whose hidden states are used; by default minilm.
        label_errors: Also look for wrong labels, nearly equal texts, and outliers. Needs cleanlab:
            `pip install "finetext[label-errors]"`.
        folds: Each label is held against classifiers that were fitted on the other folds of so many.
        top: How many of the most suspicious examples of each kind to print.
        issues: Write all of them to this CSV file.
        seed: Seed of the splits and the folds.
        json: Write the findings to this file as JSON; `-` writes them to the standard output instead of
            the table.
        data: How to read the data.
    """
    from dataclasses import replace

    from finetext.data import examine, split

    _refuse_idle(
        label_errors, {"--folds": folds != FOLDS, "--top": top != TOP, "--issues": issues is not None}
    )
    dataset = examine(source, data)
    if model is not None and len(dataset):
        dataset = replace(dataset, findings=dataset.findings.with_finding(_check_lengths(dataset, model)))
    faults = None
    if label_errors and len(dataset) and dataset.findings["one-class"].severity == "ok":
        faults = _find_faults(dataset, model or "minilm", folds, seed, data.limit)
        findings = dataset.findings
        for finding in faults.findings():
            findings = findings.with_finding(finding)
        dataset = replace(dataset, findings=findings)
    splits = None if dataset.findings.errors else split(dataset, data, seed)
    if json is not None:
        more = {} if faults is None else {"label_errors": faults.to_dict()}
        _write_json(json, _report(dataset, splits) | more)
    if faults is not None and issues is not None:
        faults.write_csv(issues)
    if json != Path("-"):
        _print_tables(dataset, splits)
        if faults is not None:
            _print_faults(faults, top)
    dataset.findings.refuse_errors(dataset.source.name)


def _check_lengths(dataset: "Dataset", name: str) -> Any:
    """Count the tokens of each text with a model's tokenizer."""
    from finetext.data import check_lengths
    from finetext.models import find_model, load_model
    from finetext.models.config import ModelConfig

    model = load_model(find_model(name), dataset.class_names, dataset.task, ModelConfig(model=name), SEED)
    counts = model.token_counts(dataset.texts)
    return check_lengths(dataset.texts, counts, model.settings.max_length, dataset.rows)


def _refuse_idle(label_errors: bool, given: dict[str, bool]) -> None:
    from finetext.errors import UsageError

    idle = [flag for flag, there in given.items() if there and not label_errors]
    if idle:
        raise UsageError(f"{', '.join(idle)}: does nothing without --label-errors. Add it.")


def _find_faults(dataset: "Dataset", model: str, folds: int, seed: int, most: float | None) -> "Faults":
    from finetext.cli.console import progress_bar
    from finetext.data import limit
    from finetext.engine import prepare_cpu
    from finetext.experiments import find_faults
    from finetext.models.config import ModelConfig

    if most is not None:
        dataset = limit(dataset, most, seed)
    with progress_bar("reading texts", len(dataset)) as advance:
        prepare_cpu()
        return find_faults(dataset, ModelConfig(model=model), folds=folds, seed=seed, progress=advance)


def _print_faults(faults: "Faults", top: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    from finetext.cli.console import data, prose
    from finetext.experiments.data_issues import KINDS

    shown = [own for kind in KINDS for own in faults.of(kind)[:top]]
    table = Table(title="To look at", title_justify="left", expand=True)
    for name in ("kind", "row", "label", "suggested", "score"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("row", "score") else "left")
    table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
    for own in shown:
        labels, suggested = "|".join(own.labels), "|".join(own.suggested or ())
        text = " ".join(faults.dataset.texts[own.index].split())
        table.add_row(
            own.kind, str(own.row), escape(labels), escape(suggested), f"{own.score:.3f}", escape(text)
        )
    data().print(table)
    for note in faults.notes:
        prose().print(f"note: {note}", markup=False)


def _report(dataset: "Dataset", splits: "Splits | None") -> dict[str, Any]:
    source = dataset.source
    return {
        "source": source.name,
        "files": [str(path) for path in source.files],
        "format": source.format,
        "text_column": source.text_column,
        "label_column": source.label_column,
        "digest": source.digest,
        "revision": source.revision,
        "synthetic": source.synthetic,
        "task": dataset.task,
        **dataset.findings.to_dict(),
        "splits": None if splits is None else _sizes(splits),
        "notes": [] if splits is None else list(splits.notes),
    }


def _sizes(splits: "Splits") -> dict[str, int]:
    return {"train": len(splits.train), "validation": len(splits.validation), "test": len(splits.test)}


def _write_json(path: Path, report: dict[str, Any]) -> None:
    import json
    import sys

    from finetext.files import write_json

    if path == Path("-"):
        sys.stdout.write(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        write_json(path, report)


def _print_tables(dataset: "Dataset", splits: "Splits | None") -> None:
    from finetext.cli.console import data

    console = data()
    for name, text in _summary(dataset, splits):
        console.print(f"{name:<10} {text}", markup=False, soft_wrap=True)
    console.print(_class_table(dataset))
    console.print(_finding_table(dataset))


def _summary(dataset: "Dataset", splits: "Splits | None") -> list[tuple[str, str]]:
    source, findings = dataset.source, dataset.findings
    synthetic = " (synthetic: written for finetext, its figures say nothing about real messages)"
    lines = [
        ("source", source.name + (synthetic if source.synthetic else "")),
        ("columns", f"text: {source.text_column} · label: {source.label_column} · format: {source.format}"),
        ("examples", f"{findings.examples:,}, {dataset.task}, {len(dataset.class_names)} classes"),
    ]
    if findings.characters:
        figures = dict(findings.characters)
        lines.append(("characters", " · ".join(f"{name} {value:,.0f}" for name, value in figures.items())))
    if splits is not None:
        lines.append(("splits", " · ".join(f"{name} {size:,}" for name, size in _sizes(splits).items())))
        lines += [("", note) for note in splits.notes]
    return lines


def _class_table(dataset: "Dataset") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("class", title="Classes", title_justify="left")
    table.add_column("texts", justify="right")
    table.add_column("share", justify="right")
    for name, count in dataset.findings.classes:
        table.add_row(escape(name), f"{count:,}", f"{count / max(len(dataset), 1):.1%}")
    return table


def _finding_table(dataset: "Dataset") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table("check", "", title="Checks", title_justify="left")
    table.add_column("count", justify="right")
    table.add_column("first rows")
    table.add_column("what it means")
    for item in dataset.findings.items:
        rows = ", ".join(str(row) for row in item.first_rows)
        style = STYLES[item.severity]
        mark = f"[{style}]{item.severity}[/{style}]"
        table.add_row(item.name, mark, f"{item.count:,}", escape(rows), escape(item.detail))
    return table
