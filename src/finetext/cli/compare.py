"""`finetext compare`."""

from pathlib import Path
from typing import Literal

from rich.measure import Measurement

from finetext import experiments, files, inference, reporting
from finetext.cli.console import stdout, write
from finetext.cli.tables import plain_table


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
    for table in result.tables():
        _print(table)
    if result.task == "multi-label":
        write("Accuracy counts a text as right if all of its labels are.")


def _print(content: "reporting.Table") -> None:
    """Print a table, into a pipe or file at its full width: the folders' names must stay whole."""
    console, table = stdout(), plain_table(content.caption, *content.columns)
    for index, (name, *cells) in enumerate(content.rows):
        mark = " *" if index in content.marked else ""
        table.add_row(f"{name}{mark}", *map(_cell, cells))
    if not console.is_terminal:
        unlimited = console.options.update(max_width=10_000)
        console.width = max(console.width, Measurement.get(console, unlimited, table).maximum)
    console.print(table)


def _cell(content: "str | reporting.Number") -> str:
    if isinstance(content, str):
        return content
    return f"{content.text} ({content.below})" if content.below else content.text
