"""Texts, a file or a stream, labelled by a saved classifier into a file, a stream or a table."""

import contextlib
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl

from finetext.data import DataConfig, Rows, open_rows, rows_of_texts
from finetext.errors import UsageError
from finetext.inference.bulk import predict_rows
from finetext.inference.classifier import load
from finetext.inference.files import FilePrediction, predict_file, predict_stream
from finetext.inference.resumable_output import Tally, resumable_rows
from finetext.inference.writing import OutputFormat, output_format, refuse_existing
from finetext.models import digest_model
from finetext.options import RuntimeOptions
from finetext.runs import model_folder

RowsDone = Callable[[int, int | None], None]
"""Receives the rows done and the rows in all, None if that is not known."""


@dataclass(frozen=True)
class Prediction:
    """What to label, and by which classifier.

    Attributes:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        source: Texts, a file of any size, or a stream such as stdin.
        data: How the file or stream is read.
        runtime: Device and precision.
        all_scores: Add the probability of every class.
        spreadsheet_safe: Prefix cells that a spreadsheet would run as formulas; CSV and TSV only.
    """

    model: Path
    source: Sequence[str] | Path | BinaryIO
    data: DataConfig = DataConfig()
    runtime: RuntimeOptions = RuntimeOptions()
    all_scores: bool = False
    spreadsheet_safe: bool = False


def predict_into_file(
    prediction: Prediction,
    output: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: RowsDone | None = None,
) -> Tally:
    """Label texts into a file, whose format follows from its name.

    Args:
        prediction: What to label.
        output: The file to write.
        overwrite: Replace it if it exists.
        resume: Continue an interrupted prediction into it.
        progress: Receives the number of rows done.

    Returns:
        The number of rows, of those without text, and of those on which the classifier abstains.
    """
    source = prediction.source
    if resume and not isinstance(source, Path):
        raise UsageError("--resume needs --file and --output: only a file can be read again.")
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input itself. Choose another --output.")
    if resume and not overwrite and output.exists():
        raise UsageError(
            f"{output}: is already complete; nothing to resume. Use --overwrite instead of --resume to start over."
        )
    refuse_existing(output, overwrite)
    output_format(output, spreadsheet_safe=prediction.spreadsheet_safe)  # refuses what it cannot write
    with _open(prediction, resumable=True) as opened:
        advance = _counter(progress, opened.rows, resumable_rows(output) if resume else 0)
        return predict_file(opened, output, overwrite=overwrite, resume=resume, progress=advance)


def predict_into_stream(
    prediction: Prediction, stream: BinaryIO, format: str, *, progress: RowsDone | None = None
) -> Tally:
    """Label texts into a stream as csv, tsv, jsonl or parquet; returns the same numbers as `predict_into_file`."""
    writing = OutputFormat(format, spreadsheet_safe=prediction.spreadsheet_safe)  # type: ignore[arg-type]
    with _open(prediction) as opened:
        return predict_stream(opened, stream, writing, progress=_counter(progress, opened.rows))


def predict_into_table(
    prediction: Prediction, *, progress: RowsDone | None = None
) -> tuple[pl.DataFrame, Tally]:
    """Label texts into a table in memory, with every column of the input."""
    with _open(prediction) as opened:
        advance = _counter(progress, opened.rows)
        parts = list(
            predict_rows(opened.classifier, opened.rows, all_scores=opened.all_scores, progress=advance)
        )
    table = pl.concat([part.table for part in parts])
    empty, abstained = sum(part.empty for part in parts), sum(part.abstained for part in parts)
    return table, Tally(table.height, empty, abstained)


@contextlib.contextmanager
def _open(prediction: Prediction, *, resumable: bool = False) -> Iterator[FilePrediction]:
    with _open_rows(prediction.source, prediction.data) as rows:
        runtime = prediction.runtime
        classifier = load(prediction.model, device=runtime.device, precision=runtime.precision)
        # The digest is that of what a resumed prediction must share with this one.
        digest = digest_model(model_folder(prediction.model)) if resumable and rows.digest is not None else ""
        yield FilePrediction(classifier, rows, digest, prediction.all_scores, prediction.spreadsheet_safe)


@contextlib.contextmanager
def _open_rows(source: Sequence[str] | Path | BinaryIO, config: DataConfig) -> Iterator[Rows]:
    if isinstance(source, Path) and source.exists() and stat.S_ISFIFO(source.stat().st_mode):
        with source.open("rb") as stream:  # such as <(zcat in.gz)
            yield open_rows(stream, config, str(source))
    elif isinstance(source, Path):
        yield open_rows(source, config)
    elif isinstance(source, Sequence):
        yield rows_of_texts(source)
    else:
        yield open_rows(source, config, "stdin")


def _counter(progress: RowsDone | None, rows: Rows, done: int = 0) -> Callable[[int], None] | None:
    if progress is None:
        return None

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, rows.height)

    return advance
