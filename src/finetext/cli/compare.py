"""`finetext compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from finetext.evaluation import PairedDifference
    from finetext.experiments import Comparison


def compare(
    *runs: Path,
    reference: Literal["first", "best"] = "first",
    seed: int = 0,
    html: Path | None = None,
    json: Path | None = None,
) -> None:
    """Put finished runs side by side, with paired differences on their common test texts.

    Args:
        runs: Two or more run folders, or folders with `metrics.json` and `predictions.csv`; all tested on the
            same texts.
        reference: The run that the others are compared with: the first one named, or that of the highest accuracy.
        seed: Seed of the bootstrap.
        html: Also write the comparison to this file, a page that needs no other.
        json: Also write it to this file.
    """
    from finetext import experiments
    from finetext.cli.console import data
    from finetext.files import write_json
    from finetext.inference import refuse_existing

    for path in (html, json):
        if path is not None:
            refuse_existing(path, overwrite=False)
    found = experiments.compare(runs, best=reference == "best", seed=seed)
    if html is not None:
        experiments.write_page(found, html)
    if json is not None:
        write_json(json, found.to_dict())
    _print(found)
    if found.task == "multi-label":
        data().print("Accuracy counts a text as right if all of its labels are.")


def _print(found: "Comparison") -> None:
    from finetext.cli.console import data
    from finetext.cli.tables import plain_table

    console = data()
    table = plain_table(
        f"The same {found.texts:,} test texts",
        "run",
        "model",
        "trained",
        "accuracy (95 %)",
        "macro-F1",
        "MCC",
        "log loss",
        "parameters",
        "training",
    )
    for own in found.entrants:
        table.add_row(
            own.name + (" *" if own.name == found.reference else ""),
            own.model or "–",
            own.trainable or "–",
            f"{own.accuracy:.4f} ({own.accuracy_low:.3f}–{own.accuracy_high:.3f})",
            f"{own.macro_f1:.4f}",
            f"{own.mcc:.4f}",
            f"{own.log_loss:.4f}",
            "–" if own.parameters is None else f"{own.parameters / 1e6:.1f} M",
            "–" if own.train_seconds is None else f"{own.train_seconds:.1f} s",
        )
    _widen(console, table)
    table = plain_table(
        f"Differences from {found.reference} (95 %, paired bootstrap; p of McNemar's exact test)",
        "run",
        "accuracy",
        "macro-F1",
        "MCC",
        "p",
        "verdict",
    )
    for other in found.against:
        cells = (_interval(other.differences[name]) for name in ("accuracy", "macro_f1", "mcc"))
        table.add_row(other.name, *cells, f"{other.mcnemar_p_value:.2g}", other.verdict)
    _widen(console, table)


def _interval(own: "PairedDifference") -> str:
    return f"{own.difference:+.4f} ({own.low:+.3f} to {own.high:+.3f})"


def _widen(console: "Console", table: "Table") -> None:
    """Print a table into a pipe or file at its full width: a folder's name that is cut names nothing."""
    from rich.measure import Measurement

    if not console.is_terminal:
        wide = console.options.update(max_width=10_000)
        console.width = max(console.width, Measurement.get(console, wide, table).maximum)
    console.print(table)
