"""Labelling a file of any size into another; a crash costs at most the rows in progress."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch

from finetext.data import Rows
from finetext.errors import DataError
from finetext.inference.bulk import Advance, predict_rows
from finetext.inference.classifier import Classifier
from finetext.inference.resumable_output import Identity, Tally, resumable_output
from finetext.inference.row_batches import BATCH_BYTES, BATCH_ROWS
from finetext.inference.writing import OutputFormat, output_format, write_parquet

JOURNAL_VERSION = 1


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
        for labelled in predict_rows(
            prediction.classifier,
            rows,
            all_scores=prediction.all_scores,
            cells=target.cells,
            skip=partial.tally.rows,
            progress=progress,
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
    for labelled in predict_rows(
        prediction.classifier,
        prediction.rows,
        all_scores=prediction.all_scores,
        cells=target.cells,
        progress=progress,
    ):
        content = target.encode(labelled, first=not tally.rows)
        stream.write(content)
        stream.flush()
        tally = tally.plus(labelled, len(content))
    return tally
