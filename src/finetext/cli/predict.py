"""`finetext predict`."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetext import inference
from finetext.cli.arguments import ClassifierPath, TextArgument, refuse_options
from finetext.cli.console import note, say, write, write_json
from finetext.cli.progress import ConsoleProgress
from finetext.data import DataConfig
from finetext.errors import RunError, UsageError
from finetext.options import Flat, Parameter, RuntimeOptions

if TYPE_CHECKING:
    import polars as pl

Advance = Callable[[int, int | None], None]
Format = Literal["auto", "table", "csv", "tsv", "json", "jsonl", "parquet"]


def predict(
    model: ClassifierPath,
    /,
    *texts: TextArgument,
    file: Annotated[str | None, Parameter(name=("--file", "-f"), allow_leading_hyphen=True)] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: bool = False,
    resume: bool = False,
    format: Format = "auto",
    text_column: str | None = None,
    encoding: str = "utf-8",
    quoting: Literal["auto", "csv", "none"] = "auto",
    all_scores: bool = False,
    spreadsheet_safe: bool = False,
    runtime: Annotated[RuntimeOptions, Flat] = RuntimeOptions(),
) -> None:
    """Label texts: those on the command line, those of a file of any size, or those on stdin.

    Args:
        texts: Texts to label; a single - is stdin.
        file: A CSV, TSV, JSON Lines, Parquet or plain text file (also gzipped); - is stdin.
        output: Write to this file instead of stdout; the format follows from its name.
        overwrite: Replace an existing output file.
        resume: Resume an interrupted prediction into the same output.
        format: Format of stdout; auto is a table in a terminal, else CSV.
        text_column: Name of the column with the texts; recognised by its name if not given.
        encoding: Character encoding of the file.
        quoting: Whether quotation marks enclose fields (csv) or are plain characters (none).
        all_scores: Include the probability of every class.
        spreadsheet_safe: Prefix cells that a spreadsheet would run as formulas with a quotation mark.
    """
    refuse_options(*texts)
    texts = () if texts == ("-",) else texts
    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if resume and output is None:
        raise UsageError("--resume needs --file and --output: only a file can be read again.")
    if format == "auto":
        format = "table" if sys.stdout.isatty() else "csv"
    if output is None and spreadsheet_safe and format not in ("csv", "tsv"):
        raise UsageError(f"--spreadsheet-safe is for CSV and TSV, not for {format}.")
    data = DataConfig(text_column=text_column, encoding=encoding, quoting=quoting)
    prediction = inference.Prediction(
        model, _source(texts, file), data, runtime, all_scores, spreadsheet_safe
    )
    with ConsoleProgress() as bar:
        progress = partial(bar.working, "labelling")
        if output is not None:
            done = _to_file(prediction, output, overwrite, resume, progress)
        elif format not in ("table", "json"):
            done = inference.predict_into_stream(prediction, sys.stdout.buffer, format, progress=progress)
        else:
            table, done = inference.predict_into_table(prediction, progress=progress)
            if format == "table":
                write(_table(table))
            else:
                write_json(table.to_dicts())
    if output is not None:
        say(f"{done.rows:,} rows written to {output}")
    _tell_counts(done)


def _source(texts: tuple[str, ...], file: str | None) -> tuple[str, ...] | Path | BinaryIO:
    if texts:
        return texts
    if file is None and sys.stdin.isatty():
        raise UsageError("nothing to label: give a text, --file FILE, or texts on stdin.")
    return sys.stdin.buffer if file in (None, "-") else Path(str(file))


def _to_file(
    prediction: "inference.Prediction", output: Path, overwrite: bool, resume: bool, progress: Advance
) -> "inference.Tally":
    try:
        return inference.predict_into_file(
            prediction, output, overwrite=overwrite, resume=resume, progress=progress
        )
    except (KeyboardInterrupt, RunError):
        if kept := inference.resumable_rows(output):
            note(f"{kept:,} rows are done; --resume continues from there.")
        raise


def _tell_counts(done: "inference.Tally") -> None:
    if done.empty:
        rows = "1 row has" if done.empty == 1 else f"{done.empty:,} rows have"
        note(f"{rows} no text, and an empty prediction.")
    if done.abstained:
        note(
            f"the classifier abstains on {done.abstained:,} rows (--abstain-below); their prediction is empty."
        )


def _table(frame: "pl.DataFrame") -> Table:
    def shown(cell: object) -> str:
        return "" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)

    table = Table(*frame.columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in frame.iter_rows():
        table.add_row(*map(shown, row))
    return table
