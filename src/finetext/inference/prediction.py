"""Texts, a file of any size or a stream, labelled into a file, a stream or a table.

A crash while writing a file costs at most the rows in progress.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import torch

from finetext.data import Cells, DataConfig, Rows, open_rows, rows_of_texts
from finetext.errors import DataError, UsageError
from finetext.inference.bulk import LabelledRows, RowsDone, predict_rows
from finetext.inference.classifier import Classifier, load
from finetext.inference.resumable_output import Identity, Tally, resumable_output
from finetext.inference.row_batches import BATCH_BYTES, BATCH_ROWS
from finetext.inference.writing import OutputFormat, output_format, refuse_existing, write_parquet
from finetext.models import digest_model
from finetext.options import RuntimeOptions
from finetext.runs import model_folder

JOURNAL_VERSION = 1


@dataclass(frozen=True)
class Prediction:
    """What to label, and by which classifier.

    Attributes:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier; or a classifier,
            whose interrupted predictions cannot be resumed.
        source: Texts, a file of any size, or a stream such as stdin.
        data: How the file or stream is read.
        runtime: Device and precision.
        all_scores: Add the probability of every class.
        spreadsheet_safe: Prefix cells that a spreadsheet would run as formulas; CSV and TSV only.
    """

    model: Path | Classifier
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

    The output grows beside its target, is synced after each batch of rows, and is renamed when it is complete.

    Args:
        prediction: What to label.
        output: The file to write.
        overwrite: Replace it if it exists.
        resume: Continue an interrupted prediction into it; start over if there is none.
        progress: Receives the number of rows done.

    Returns:
        The number of rows, of those without text, and of those on which the classifier abstains.

    Raises:
        UsageError: The output exists, its format is unknown, or it was begun with another input, model or options.
        DataError: The input has changed since it was opened.
        RunError: The disk is full, or another process writes the output.
    """
    _check_output(prediction.source, output, overwrite, resume)
    target = output_format(output, spreadsheet_safe=prediction.spreadsheet_safe)
    with _open_rows(prediction.source, prediction.data) as rows:
        classifier = _load(prediction)
        identity = _identity(prediction, rows, classifier)
        with resumable_output(output, identity, overwrite=overwrite, resume=resume) as partial:
            all_scores, skip = prediction.all_scores, partial.tally.rows
            for labelled in predict_rows(
                classifier, rows, all_scores=all_scores, cells=target.cells, skip=skip, progress=progress
            ):
                partial.append(target.encode(labelled, first=not partial.tally.rows), labelled)
            if rows.height is not None and partial.tally.rows != rows.height:
                raise DataError(f"{rows.name}: changed while it was read. Start again once it is complete.")
            if target.format == "parquet":
                write_parquet(partial.path, output)
            else:
                partial.commit()
            partial.discard()
            return partial.tally


def predict_into_stream(
    prediction: Prediction, stream: BinaryIO, format: str, *, progress: RowsDone | None = None
) -> Tally:
    """Label texts into a stream as csv, tsv, jsonl or parquet; returns the same numbers as `predict_into_file`.

    Each batch of rows is written as soon as it is done, Parquet all at once.
    """
    target = OutputFormat(format, spreadsheet_safe=prediction.spreadsheet_safe)  # type: ignore[arg-type]
    if target.format == "parquet":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labelled.parquet"
            tally = predict_into_file(prediction, path, progress=progress)
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream)
        return tally
    tally = Tally()
    for labelled in _label(prediction, target.cells, progress):
        stream.write(target.encode(labelled, first=not tally.rows))
        stream.flush()
        tally = tally.plus(labelled)
    return tally


def predict_into_table(
    prediction: Prediction, *, progress: RowsDone | None = None
) -> tuple[pl.DataFrame, Tally]:
    """Label texts into a table in memory, with every column of the input."""
    parts: list[pl.DataFrame] = []
    tally = Tally()
    for labelled in _label(prediction, "typed", progress):
        parts.append(labelled.table)
        tally = tally.plus(labelled)
    return pl.concat(parts), tally


def _label(prediction: Prediction, cells: Cells, progress: RowsDone | None) -> Iterator[LabelledRows]:
    with _open_rows(prediction.source, prediction.data) as rows:
        classifier, all_scores = _load(prediction), prediction.all_scores
        yield from predict_rows(classifier, rows, all_scores=all_scores, cells=cells, progress=progress)


def _check_output(
    source: Sequence[str] | Path | BinaryIO, output: Path, overwrite: bool, resume: bool
) -> None:
    if resume and not isinstance(source, Path):
        raise UsageError("--resume needs --file and --output: only a file can be read again.")
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UsageError(f"{output}: is the input itself. Choose another --output.")
    if resume and not overwrite and output.exists():
        raise UsageError(
            f"{output}: is already complete; nothing to resume. Use --overwrite instead of --resume to start over."
        )
    refuse_existing(output, overwrite)


@contextlib.contextmanager
def _open_rows(source: Sequence[str] | Path | BinaryIO, config: DataConfig) -> Iterator[Rows]:
    if isinstance(source, Path) and source.is_fifo():
        with source.open("rb") as stream:  # such as <(zcat in.gz)
            yield open_rows(stream, config, str(source))
    elif isinstance(source, Path):
        yield open_rows(source, config)
    elif isinstance(source, Sequence):
        yield rows_of_texts(source)
    else:
        yield open_rows(source, config, "stdin")


def _load(prediction: Prediction) -> Classifier:
    model, runtime = prediction.model, prediction.runtime
    if isinstance(model, Classifier):
        return model
    return load(model, device=runtime.device, precision=runtime.precision)


def _identity(prediction: Prediction, rows: Rows, classifier: Classifier) -> Identity | None:
    """Return what a resumed prediction must share; None for a stream, which cannot be read again."""
    if rows.digest is None or isinstance(prediction.model, Classifier):
        return None
    return {
        "input": rows.digest,
        "model": digest_model(model_folder(prediction.model)),
        "device": str(classifier.model.device),
        "precision": classifier.precision,
        "text column": rows.text_column,
        "columns": list(rows.columns),
        "--all-scores": prediction.all_scores,
        "--spreadsheet-safe": prediction.spreadsheet_safe,
        "window": [BATCH_ROWS, BATCH_BYTES],
        "torch": torch.__version__,
        "journal": JOURNAL_VERSION,
    }
