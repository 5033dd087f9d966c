"""`finetext predict`."""

import contextlib
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from finetext.cli.texts import refuse_unknown
from finetext.data.config import DataConfig
from finetext.options import Parameter

if TYPE_CHECKING:
    import polars as pl

    from finetext.data import Rows
    from finetext.inference import FilePrediction, Tally

Format = Literal["auto", "table", "csv", "tsv", "json", "jsonl", "parquet"]


def predict(
    model: Path,
    /,
    *texts: Annotated[str, Parameter(allow_leading_hyphen=True)],
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
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32",
) -> None:
    """Label texts: those named, those of a file of any size, or those on stdin.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        texts: Texts to label; a single - is stdin.
        file: A CSV, TSV, JSON Lines, Parquet or plain text file (also gzipped); - is stdin.
        output: Write to this file instead of stdout; the format follows from its name.
        overwrite: Replace an output file that exists.
        resume: Continue an interrupted prediction into the same output.
        format: Format of stdout; auto is a table in a terminal, else CSV.
        text_column: Name of the column with the texts; detected by default.
        encoding: Character encoding of the file.
        quoting: Whether quotation marks enclose fields (csv) or are plain characters (none).
        all_scores: Add the probability of every class.
        spreadsheet_safe: Put an apostrophe before cells that a spreadsheet would run as formulas.
        device: Where the model runs.
        precision: Numerical precision.
    """
    from finetext.cli.console import progress_bar, prose
    from finetext.engine import prepare_cpu
    from finetext.inference import FilePrediction, load, resumable_rows
    from finetext.models import digest_model
    from finetext.runs import model_folder

    refuse_unknown(*texts)
    texts = () if texts == ("-",) else texts
    _check_options(texts, file, output, overwrite, resume, spreadsheet_safe)
    stdout_format = _stdout_format(format, spreadsheet_safe) if output is None else None
    config = DataConfig(text_column=text_column, encoding=encoding, quoting=quoting)
    with _open_rows(texts, file, config) as rows:
        prepare_cpu()
        classifier = load(model, device=device, precision=precision)
        digest = "" if rows.digest is None or output is None else digest_model(model_folder(model))
        prediction = FilePrediction(classifier, rows, digest, all_scores, spreadsheet_safe)
        done = resumable_rows(output) if resume and output is not None else 0
        with progress_bar("labelling", rows.height, done) as advance:
            if output is not None:
                tally = _to_file(prediction, output, overwrite, resume, advance)
            else:
                tally = _to_stdout(prediction, stdout_format or "csv", advance)
    if output is not None:
        prose().print(f"{tally.rows:,} rows written to {output}", markup=False)
    _print_notes(tally)


def _check_options(
    texts: tuple[str, ...],
    file: str | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    spreadsheet_safe: bool,
) -> None:
    from finetext.errors import UsageError
    from finetext.inference import output_format, refuse_existing

    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if resume and (output is None or file is None or file == "-"):
        raise UsageError("--resume needs --file and --output: only the prediction of a file can be resumed.")
    if output is not None:
        if file is not None and file != "-" and output.exists() and output.samefile(file):
            raise UsageError(f"{output}: is the input file. Choose another --output.")
        if resume and not overwrite and output.exists():
            raise UsageError(
                f"{output}: already complete; nothing to resume. Use --overwrite without --resume to start over."
            )
        refuse_existing(output, overwrite)
        output_format(output, spreadsheet_safe=spreadsheet_safe)


def _stdout_format(format: Format, spreadsheet_safe: bool) -> str:
    from finetext.errors import UsageError

    chosen = "table" if format == "auto" and sys.stdout.isatty() else "csv" if format == "auto" else format
    if spreadsheet_safe and chosen not in ("csv", "tsv"):
        raise UsageError(f"--spreadsheet-safe is for CSV and TSV, not for {chosen}.")
    return chosen


@contextlib.contextmanager
def _open_rows(texts: tuple[str, ...], file: str | None, config: DataConfig) -> Iterator["Rows"]:
    from finetext.data import open_rows, rows_of_texts
    from finetext.errors import UsageError

    if texts:
        yield rows_of_texts(texts)
    elif file is None and sys.stdin.isatty():
        raise UsageError("nothing to label: give a text, --file FILE, or texts on stdin.")
    elif file is None or file == "-":
        yield open_rows(sys.stdin.buffer, config, "stdin")
    elif (path := Path(file)).exists() and stat.S_ISFIFO(path.stat().st_mode):  # such as <(zcat in.gz)
        with path.open("rb") as stream:
            yield open_rows(stream, config, file)
    else:
        yield open_rows(path, config)


def _to_file(
    prediction: "FilePrediction", output: Path, overwrite: bool, resume: bool, advance: Any
) -> "Tally":
    from finetext.cli.console import prose
    from finetext.errors import RunError
    from finetext.inference import predict_file, resumable_rows

    try:
        return predict_file(prediction, output, overwrite=overwrite, resume=resume, progress=advance)
    except (KeyboardInterrupt, RunError):
        if rows := resumable_rows(output):
            prose().print(f"note: {rows:,} rows are done; --resume continues from there.", markup=False)
        raise


def _to_stdout(prediction: "FilePrediction", format: str, advance: Any) -> "Tally":
    import polars as pl

    from finetext.inference import OutputFormat, Tally, predict_rows, predict_stream

    if format not in ("table", "json"):
        target = OutputFormat(format, spreadsheet_safe=prediction.spreadsheet_safe)  # type: ignore[arg-type]
        return predict_stream(prediction, sys.stdout.buffer, target, progress=advance)
    tally, tables = Tally(), []
    for labelled in predict_rows(
        prediction.classifier, prediction.rows, all_scores=prediction.all_scores, progress=advance
    ):
        tally = tally.plus(labelled, 0)
        tables.append(labelled.table)
    frame = pl.concat(tables)
    if format == "table":
        _show_table(frame)
    else:
        _show_json(frame.to_dicts())
    return tally


def _print_notes(tally: "Tally") -> None:
    from finetext.cli.console import prose

    if tally.empty:
        rows = "1 row has" if tally.empty == 1 else f"{tally.empty:,} rows have"
        prose().print(f"note: {rows} no text, and an empty prediction.", markup=False)
    if tally.abstained:
        prose().print(
            f"note: the classifier abstains on {tally.abstained:,} rows (--abstain-below); "
            "their prediction is empty.",
            markup=False,
        )


def _show_json(rows: list[dict[str, Any]]) -> None:
    import json

    json.dump(rows, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _show_table(frame: "pl.DataFrame") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from finetext.cli.console import data

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in frame.columns:
        table.add_column(Text(name))
    for row in frame.iter_rows():
        table.add_row(
            *(
                Text("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell))
                for cell in row
            )
        )
    data().print(table)
