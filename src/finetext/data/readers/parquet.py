"""Parquet files, a slice of rows at a time."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from finetext.data.readers import decode
from finetext.data.readers.batches import Cells, NumberedBatch, RowBatch, Rows
from finetext.data.readers.decode import GZIP, Content
from finetext.errors import DataError

SLICE_ROWS = 8192
"""Rows that are read at a time, fewer if they are long."""


def open_parquet(content: Content) -> Rows:
    """Read the schema and get ready to read the rows.

    Raises:
        DataError: It is not a Parquet file, or damaged.
    """
    path, temporary = _on_disk(content)
    with _explained(content.name):
        height = int(pl.scan_parquet(path).select(pl.len()).collect().item())
        schema = pl.scan_parquet(path).collect_schema()
    row_bytes = path.stat().st_size / max(1, height)
    step = int(min(SLICE_ROWS, max(16, decode.CHUNK_BYTES / max(1.0, row_bytes))))

    def read(cells: Cells, column: str | None) -> Iterator[NumberedBatch]:
        _ = temporary  # the temporary file lives as long as it is read
        for start in range(0, max(1, height), step):
            with _explained(content.name):
                frame = pl.scan_parquet(path).slice(start, step).collect()
            yield RowBatch(frame), np.arange(start + 1, start + frame.height + 1)

    return Rows(content.name, "parquet", pl.DataFrame(schema=schema), height, read)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0][:200]
        raise DataError(f"{name}: not a readable Parquet file: {reason}") from error


def _on_disk(content: Content) -> tuple[Path, object]:
    """Return a path to the uncompressed file: readers of Parquet start from its end."""
    if content.path is not None:
        with content.path.open("rb") as file:
            if file.read(len(GZIP)) != GZIP:
                return content.path, None
    temporary = tempfile.NamedTemporaryFile(suffix=".parquet")
    for chunk in content.chunks():
        temporary.write(chunk)
    temporary.flush()
    return Path(temporary.name), temporary
