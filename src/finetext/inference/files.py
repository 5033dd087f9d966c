"""Labelling a file of any size into another, so that a crash loses no row and costs at most a window."""

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
from finetext.inference.resumable_output import Done, Identity, Partial, partial_output
from finetext.inference.row_batches import WINDOW_BYTES, WINDOW_ROWS
from finetext.inference.writing import Writing, output_writing, write_parquet

JOURNAL_VERSION = 1


@dataclass(frozen=True)
class Job:
    """A prediction of a whole file.

    Attributes:
        classifier: What labels.
        rows: The file.
        model_digest: SHA-256 of the classifier's folder, by which a run that goes on knows it again.
        all_scores: Add the probability of each class too.
        spreadsheet_safe: Keep spreadsheets from running cells as formulas; CSV and TSV only.
    """

    classifier: Classifier
    rows: Rows
    model_digest: str = ""
    all_scores: bool = False
    spreadsheet_safe: bool = False

    @property
    def identity(self) -> Identity | None:
        """What a run that goes on must share; None if the input is a stream, which cannot be read again."""
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
            "window": [WINDOW_ROWS, WINDOW_BYTES],
            "torch": torch.__version__,
            "journal": JOURNAL_VERSION,
        }


def predict_file(
    job: Job,
    output: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    progress: Advance | None = None,
) -> Done:
    """Label a file into another; the format follows from its name.

    The output grows beside its target, takes its name when it is whole, and is synced after each window.

    Args:
        job: What to label, and by what.
        output: The file to write.
        overwrite: Replace it if it is there.
        resume: Go on where an interrupted prediction into it stopped; from the start if there was none.
        progress: Called with the number of rows done since the last call; those found done do not count.

    Returns:
        How many rows there are, without text, and abstained on.

    Raises:
        UsageError: The output is there, is of no known kind, or was begun from another input, model or options.
        DataError: The input is not as it was when it was looked through.
        RunError: The disk is full, or another process writes the output.
    """
    writing = output_writing(output, spreadsheet_safe=job.spreadsheet_safe)
    with partial_output(output, job.identity, overwrite=overwrite, resume=resume) as partial:
        _label_into(partial, job, writing, progress)
        if job.rows.height is not None and partial.done.rows != job.rows.height:
            raise DataError(f"{job.rows.name}: changed while it was read. Start again when it is whole.")
        if writing.format == "parquet":
            write_parquet(partial.path, output)
        else:
            partial.take_name()
        partial.discard()
        return partial.done


def _label_into(partial: Partial, job: Job, writing: Writing, progress: Advance | None) -> None:
    skip = partial.done.rows
    first = not skip
    for labelled in predict_rows(
        job.classifier,
        job.rows,
        all_scores=job.all_scores,
        cells=writing.cells,
        skip=skip,
        progress=progress,
    ):
        content = writing.encode(labelled, first=first)
        partial.append(content, labelled.block.frame.height, labelled.empty, labelled.abstained)
        first = False


def predict_stream(job: Job, out: BinaryIO, writing: Writing, *, progress: Advance | None = None) -> Done:
    """Label a file or stream into a stream, each window as soon as it is done; Parquet when all are."""
    if writing.format == "parquet":
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "labelled.parquet"
            done = predict_file(job, target, progress=progress)
            with target.open("rb") as file:
                shutil.copyfileobj(file, out)
        return done
    done = Done()
    for labelled in predict_rows(
        job.classifier, job.rows, all_scores=job.all_scores, cells=writing.cells, progress=progress
    ):
        content = writing.encode(labelled, first=not done.rows)
        out.write(content)
        out.flush()
        done = Done(
            done.rows + labelled.block.frame.height,
            done.empty + labelled.empty,
            done.abstained + labelled.abstained,
            done.size + len(content),
        )
    return done
