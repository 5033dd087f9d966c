"""Labelling a table: every column and row kept, the predictions beside them."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl

from finetext import files
from finetext.errors import UsageError
from finetext.inference.classifier import Classifier
from finetext.models import confidence

TableFormat = Literal["csv", "tsv", "jsonl", "parquet"]
PREDICTED, SCORE = "predicted", "score"


def predict_table(
    classifier: Classifier,
    frame: pl.DataFrame,
    text_column: str,
    *,
    all_scores: bool = False,
    progress: Callable[[int], None] | None = None,
) -> tuple[pl.DataFrame, int, int]:
    """Label the texts of a table.

    Args:
        classifier: A classifier.
        frame: The table.
        text_column: Name of the column with the texts.
        all_scores: Add the probability of each class too.
        progress: Called with the number of texts done since the last call.

    Returns:
        The table with the columns `predicted` and `score` (and `prob_CLASS`) added, the number of rows without
        text, whose prediction is empty, and the number of rows on which the classifier abstains, which have a score
        and no prediction. A column of the input that has such a name keeps it, and the new one gets a `_2`.
    """
    texts = frame[text_column].cast(pl.String).to_list()
    present = [row for row, text in enumerate(texts) if text is not None and text.strip()]
    probs = classifier.predict_proba([texts[row] for row in present], progress=progress)
    labels: list[str | None] = [None] * len(texts)
    scores: list[float | None] = [None] * len(texts)
    for row, own in zip(present, probs, strict=True):
        chosen = classifier.decide(own)
        labels[row] = "|".join(chosen) if chosen or classifier.task == "multi-label" else None
    for row, score in zip(present, confidence(probs, classifier.task, classifier.decision), strict=True):
        scores[row] = float(score)
    added = [pl.Series(PREDICTED, labels, dtype=pl.String), pl.Series(SCORE, scores, dtype=pl.Float64)]
    if all_scores:
        columns = np.full((len(texts), probs.shape[1]), np.nan)
        columns[present] = probs
        added += [
            pl.Series(f"prob_{name}", columns[:, index], dtype=pl.Float64).fill_nan(None)
            for index, name in enumerate(classifier.class_names)
        ]
    for series in added:
        frame = frame.with_columns(series.alias(_free_name(series.name, frame.columns)))
    abstained = sum(labels[row] is None for row in present)
    return frame, len(texts) - len(present), abstained


def _free_name(name: str, taken: list[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    return candidate


def table_format(path: Path) -> TableFormat:
    """Return the format that a file's name stands for; `.gz` at the end does not count.

    Raises:
        UsageError: It is none that can be written.
    """
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes if suffix != ".gz"]
    last = suffixes[-1] if suffixes else ""
    name = {"json": "jsonl", "ndjson": "jsonl"}.get(last, last)
    if name in get_args(TableFormat):
        return name  # type: ignore[return-value]
    raise UsageError(
        f"{path}: unknown kind of file. End its name in .csv, .tsv, .jsonl or .parquet (also .gz)."
    )


def table_bytes(frame: pl.DataFrame, format: TableFormat) -> bytes:
    """Return a table as the content of a file."""
    buffer = io.BytesIO()
    if format == "parquet":
        frame.write_parquet(buffer)
    elif format == "jsonl":
        frame.write_ndjson(buffer)
    else:
        frame.write_csv(buffer, separator="\t" if format == "tsv" else ",")
    return buffer.getvalue()


def write_table(frame: pl.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write a table as the file's name says, gzipped if it ends in `.gz`, whole or not at all.

    Raises:
        UsageError: The file is there already, or its name is of no known kind.
    """
    refuse_existing(path, overwrite)
    content = table_bytes(frame, table_format(path))
    # A fixed time in the gzip header: the same table gives the same bytes.
    files.write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise UsageError if `path` is there and may not be overwritten."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: is there already. Choose another --output, or pass --overwrite.")
