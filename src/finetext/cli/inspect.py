"""`finetext inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from finetext.data.config import DataConfig
from finetext.options import Parameter, section

if TYPE_CHECKING:
    from rich.table import Table

    from finetext.data import Dataset, Splits

SEED = 42
STYLES = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "red"}


def inspect(
    source: str,
    /,
    *,
    model: str | None = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Check labelled text before any training: what is missing, doubled, contradictory or too long.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and
            test files, `hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`.
        model: Also count the texts that are longer than this model's limit, and the tokens lost.
        json: Write the findings to this file as JSON; `-` writes them to the standard output instead of
            the table.
        data: How to read the data.
    """
    from dataclasses import replace

    from finetext.data import examine, split

    dataset = examine(source, data)
    if model is not None and len(dataset):
        dataset = replace(dataset, findings=dataset.findings.with_finding(_check_lengths(dataset, model)))
    splits = None if dataset.findings.errors else split(dataset, data, SEED)
    if json is not None:
        _write_json(json, _report(dataset, splits))
    if json != Path("-"):
        _print_tables(dataset, splits)
    dataset.findings.refuse_errors(dataset.source.name)


def _check_lengths(dataset: "Dataset", name: str) -> Any:
    """Count the tokens of each text with a model's tokenizer."""
    from finetext.data import check_lengths
    from finetext.models import find_model, load_model
    from finetext.models.config import ModelConfig

    model = load_model(find_model(name), dataset.class_names, dataset.task, ModelConfig(model=name), SEED)
    counts = model.token_counts(dataset.texts)
    return check_lengths(dataset.texts, counts, model.settings.max_length, dataset.rows)


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
