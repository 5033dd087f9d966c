"""Texts, a file of any size or a stream, labelled into a file, a stream or a table.

A crash while writing a file costs at most the rows in progress.
"""

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl
import torch

from finetext.data import Cells, DataConfig, Rows, open_rows, rows_of_texts
from finetext.errors import DataError, UsageError
from finetext.inference.bulk import Advance, LabelledRows, predict_rows
from finetext.inference.classifier import Classifier, load
from finetext.inference.resumable_output import Identity, Tally, resumable_output, resumable_rows
from finetext.inference.row_batches import BATCH_BYTES, BATCH_ROWS
from finetext.inference.writing import OutputFormat, output_format, refuse_existing, write_parquet
from finetext.models import digest_model
from finetext.options import RuntimeOptions
from finetext.runs import model_folder

JOURNAL_VERSION = 1
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


@dataclass(frozen=True)
class FilePrediction:
    """What to predict: a file, the classifier and the options.

    Attributes:
        classifier: The classifier.
        rows: The file.
        model_digest: SHA-256 of the classifier's folder; a resumed prediction must have the same.
        all_scores: Add the probability of each class.
        spreadsheet_safe: Keep spreadsheets from running cells as formulas; CSV and TSV only.
    """

    classifier: Classifier
    rows: Rows
    model_digest: str = ""
    all_scores: bool = False
    spreadsheet_safe: bool = False

    @property
    def identity(self) -> Identity | None:
        """What a resumed prediction must share; None for a stream, which cannot be read again."""
        if self.rows.digest is None:
            return None
        return {
            "input": self.rows.digest,
            "model": self.model_digest,
            "device": str(self.classifier.model.device),
            "precision": self.classifier.precision,
            "text column": self.rows.text_column,
            "columns": list(self.rows.columns),
            "--all-scores": self.all_scores,
            "--spreadsheet-safe": self.spreadsheet_safe,
            "window": [BATCH_ROWS, BATCH_BYTES],
            "torch": torch.__version__,
            "journal": JOURNAL_VERSION,
        }

    def label(
        self, cells: Cells = "typed", skip: int = 0, progress: Advance | None = None
    ) -> Iterator[LabelledRows]:
        """Label the rows in batches, without those to skip."""
        all_scores = self.all_scores
        return predict_rows(
            self.classifier, self.rows, all_scores=all_scores, cells=cells, skip=skip, progress=progress
        )


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
        parts = list(opened.label(progress=_counter(progress, opened.rows)))
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


def predict_file(
    prediction: FilePrediction,
    output: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Advance | None = None,
) -> Tally:
    """Label a file into another; the format follows from its name.

    The output grows beside its target, is synced after each batch of rows, and is renamed when it is complete.

    Args:
        prediction: What to label, and with which classifier.
        output: The file to write.
        overwrite: Replace the output if it exists.
        resume: Continue an interrupted prediction into the same output; start over if there is none.
        progress: Called with the number of rows done since the last call, without those done before a resume.

    Returns:
        How many rows were written, how many of them without text, and on how many the classifier abstains.

    Raises:
        UsageError: The output exists, its format is unknown, or it was begun with another input, model or options.
        DataError: The input has changed since it was opened.
        RunError: The disk is full, or another process writes the output.
    """
    rows = prediction.rows
    target = output_format(output, spreadsheet_safe=prediction.spreadsheet_safe)
    with resumable_output(output, prediction.identity, overwrite=overwrite, resume=resume) as partial:
        for labelled in prediction.label(target.cells, partial.tally.rows, progress):
            partial.append(target.encode(labelled, first=not partial.tally.rows), labelled)
        if rows.height is not None and partial.tally.rows != rows.height:
            raise DataError(f"{rows.name}: changed while it was read. Start again once it is complete.")
        if target.format == "parquet":
            write_parquet(partial.path, output)
        else:
            partial.commit()
        partial.discard()
        return partial.tally


def predict_stream(
    prediction: FilePrediction, stream: BinaryIO, target: OutputFormat, *, progress: Advance | None = None
) -> Tally:
    """Label a file or stream into a stream, each batch of rows as soon as it is done; Parquet all at once."""
    if target.format == "parquet":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labelled.parquet"
            tally = predict_file(prediction, path, progress=progress)
            with path.open("rb") as file:
                shutil.copyfileobj(file, stream)
        return tally
    tally = Tally()
    for labelled in prediction.label(target.cells, progress=progress):
        content = target.encode(labelled, first=not tally.rows)
        stream.write(content)
        stream.flush()
        tally = tally.plus(labelled, len(content))
    return tally
