"""`finetext compare`."""

from pathlib import Path
from typing import Literal

from rich.measure import Measurement
from rich.table import Table

from finetext import experiments, files, inference
from finetext.cli.console import stdout, write
from finetext.cli.tables import accuracy_interval, plain_table


def compare(
    *runs: Path,
    reference: Literal["first", "best"] = "first",
    seed: int = 0,
    html: Path | None = None,
    json: Path | None = None,
) -> None:
    """Compare finished runs, with paired differences on their common test texts.

    Args:
        runs: Two or more run folders, or folders with `metrics.json` and `predictions.csv`; all tested on the
            same texts.
        reference: The run that the others are compared with: the first one named, or that of the highest accuracy.
        seed: Seed of the bootstrap.
        html: Also write the comparison to this self-contained HTML file.
        json: Also write it to this file.
    """
    for path in (html, json):
        if path is not None:
            inference.refuse_existing(path, overwrite=False)
    result = experiments.compare(runs, best=reference == "best", seed=seed)
    if html is not None:
        experiments.write_page(result, html)
    if json is not None:
        files.write_json(json, result.to_dict())
    _print(_run_table(result))
    _print(_difference_table(result))
    if result.task == "multi-label":
        write("Accuracy counts a text as right if all of its labels are.")


def _run_table(result: "experiments.Comparison") -> Table:
    columns = ("accuracy (95 %)", "macro-F1", "MCC", "log loss", "parameters", "training")
    table = plain_table(f"The same {result.texts:,} test texts", "run", "model", "trained", *columns)
    for run in result.runs:
        table.add_row(
            run.name + (" *" if run.name == result.reference else ""),
            run.model or "–",
            run.trainable or "–",
            accuracy_interval(run.accuracy, run.accuracy_low, run.accuracy_high),
            f"{run.macro_f1:.4f}",
            f"{run.mcc:.4f}",
            f"{run.log_loss:.4f}",
            "–" if run.parameters is None else f"{run.parameters / 1e6:.1f} M",
            "–" if run.train_seconds is None else f"{run.train_seconds:.1f} s",
        )
    return table


def _difference_table(result: "experiments.Comparison") -> Table:
    title = f"Differences from {result.reference} (95 %, paired bootstrap; p of McNemar's exact test)"
    table = plain_table(title, "run", "accuracy", "macro-F1", "MCC", "p", "verdict")
    for run in result.differences:
        values = (run.metrics[name] for name in ("accuracy", "macro_f1", "mcc"))
        cells = (f"{value.difference:+.4f} ({value.low:+.3f} to {value.high:+.3f})" for value in values)
        table.add_row(run.name, *cells, f"{run.mcnemar_p_value:.2g}", run.verdict)
    return table


def _print(table: Table) -> None:
    """Print a table into a pipe or file at its full width: the folders' names must stay whole."""
    console = stdout()
    if not console.is_terminal:
        unlimited = console.options.update(max_width=10_000)
        console.width = max(console.width, Measurement.get(console, unlimited, table).maximum)
    console.print(table)
