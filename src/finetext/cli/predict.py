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
    from finetext.inference import Done, Job

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
        texts: Texts to label; a - alone is stdin.
        file: A CSV, TSV, JSON Lines, Parquet or plain text file (also gzipped); - is stdin.
        output: Write there instead of to stdout; the format follows from the name.
        overwrite: Replace an output file that is there.
        resume: Go on where an interrupted prediction into the same output stopped.
        format: How stdout is written; auto is a table in a terminal, else CSV.
        text_column: Name of the column with the texts; found by its name if not given.
        encoding: Character encoding of the file.
        quoting: Whether quotation marks enclose fields (csv) or are plain characters (none).
        all_scores: Give the probability of every class.
        spreadsheet_safe: Put a quotation mark before cells that a spreadsheet would run as formulas.
        device: Where the model runs.
        precision: Arithmetic.
    """
    from finetext.cli.console import progress_bar, prose
    from finetext.inference import Job, load, rows_kept
    from finetext.models import digest_model
    from finetext.runs import model_folder

    refuse_unknown(*texts)
    texts = () if texts == ("-",) else texts
    _check_options(texts, file, output, overwrite, resume, spreadsheet_safe)
    chosen = _stdout_format(format, spreadsheet_safe) if output is None else None
    config = DataConfig(text_column=text_column, encoding=encoding, quoting=quoting)
    with _open_rows(texts, file, config) as rows:
        classifier = load(model, device=device, precision=precision)
        digest = "" if rows.digest is None or output is None else digest_model(model_folder(model))
        job = Job(classifier, rows, digest, all_scores, spreadsheet_safe)
        kept = rows_kept(output) if resume and output is not None else 0
        with progress_bar("labelling", rows.height, kept) as advance:
            if output is not None:
                done = _into_file(job, output, overwrite, resume, advance)
            else:
                done = _to_stdout(job, chosen or "csv", advance)
    if output is not None:
        prose().print(f"{done.rows:,} rows written to {output}", markup=False)
    _tell_counts(done)


def _check_options(
    texts: tuple[str, ...],
    file: str | None,
    output: Path | None,
    overwrite: bool,
    resume: bool,
    spreadsheet_safe: bool,
) -> None:
    from finetext.errors import UsageError
    from finetext.inference import output_writing, refuse_existing

    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if resume and (output is None or file is None or file == "-"):
        raise UsageError("--resume needs --file and --output: only a file can be gone on with.")
    if output is not None:
        if file is not None and file != "-" and output.exists() and output.samefile(file):
            raise UsageError(f"{output}: is the input itself. Choose another --output.")
        if resume and not overwrite and output.exists():
            raise UsageError(
                f"{output}: is finished, nothing is left to go on with. To label anew, take --overwrite for --resume."
            )
        refuse_existing(output, overwrite)
        output_writing(output, spreadsheet_safe=spreadsheet_safe)


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


def _into_file(job: "Job", output: Path, overwrite: bool, resume: bool, advance: Any) -> "Done":
    from finetext.cli.console import prose
    from finetext.errors import RunError
    from finetext.inference import predict_file, rows_kept

    try:
        return predict_file(job, output, overwrite=overwrite, resume=resume, progress=advance)
    except (KeyboardInterrupt, RunError):
        if kept := rows_kept(output):
            prose().print(f"note: {kept:,} rows are done; --resume goes on from there.", markup=False)
        raise


def _to_stdout(job: "Job", format: str, advance: Any) -> "Done":
    import polars as pl

    from finetext.inference import Done, Writing, predict_rows, predict_stream

    if format not in ("table", "json"):
        writing = Writing(format, spreadsheet_safe=job.spreadsheet_safe)  # type: ignore[arg-type]
        return predict_stream(job, sys.stdout.buffer, writing, progress=advance)
    windows = list(predict_rows(job.classifier, job.rows, all_scores=job.all_scores, progress=advance))
    frame = pl.concat([window.table for window in windows])
    if format == "table":
        _show_table(frame)
    else:
        _show_json(frame.to_dicts())
    empty, abstained = (sum(getattr(window, name) for window in windows) for name in ("empty", "abstained"))
    return Done(frame.height, empty, abstained)


def _tell_counts(done: "Done") -> None:
    from finetext.cli.console import prose

    if done.empty:
        rows = "1 row has" if done.empty == 1 else f"{done.empty:,} rows have"
        prose().print(f"note: {rows} no text, and an empty prediction.", markup=False)
    if done.abstained:
        prose().print(
            f"note: the classifier abstains on {done.abstained:,} rows (--abstain-below); "
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
