"""Grouping a file's rows into the batches in which it is labelled."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.data import RowBatch

BATCH_ROWS = 8192
"""Rows encoded together, so that texts of similar length can share a forward pass ..."""
BATCH_BYTES = 8 << 20
"""... and the most text that they hold, unless a single row has more."""


def row_batches(blocks: Iterable[RowBatch], skip: int = 0) -> Iterator[RowBatch]:
    """Regroup rows into batches whose boundaries depend on the rows alone, not on how the file was read.

    Args:
        blocks: The rows.
        skip: Rows to leave out at the start; skipping whole batches leaves the later ones as they were.

    Yields:
        At least one batch; an empty one if there is no row.
    """
    parts: list[RowBatch] = []
    rows = size = 0
    yielded = False
    empty: RowBatch | None = None  # the columns without a row, only for a file without rows
    for block in blocks:
        skipped = min(skip, block.frame.height)
        skip -= skipped
        rest = block.slice(skipped)
        empty = rest.slice(0, 0)
        while rest.frame.height:
            sizes = np.cumsum(_sizes(rest))
            fitting = min(BATCH_ROWS - rows, int(np.searchsorted(sizes, BATCH_BYTES - size, side="right")))
            fitting = max(fitting, 0 if rows else 1)
            parts.append(rest.slice(0, fitting))
            rows, size = rows + fitting, size + (int(sizes[fitting - 1]) if fitting else 0)
            rest = rest.slice(fitting)
            if rest.frame.height or rows == BATCH_ROWS:
                yield _join(parts)
                parts, rows, size, yielded = [], 0, 0, True
    if parts:
        yield _join(parts)
    elif empty is not None and not yielded:
        yield empty


def _sizes(block: RowBatch) -> NDArray[np.int64]:
    """Return the bytes of text in each row."""
    if block.lines is not None:
        return np.asarray([len(line) for line in block.lines], dtype=np.int64)
    texts = [name for name, dtype in block.frame.schema.items() if dtype == pl.String]
    if not texts:
        return np.zeros(block.frame.height, dtype=np.int64)
    lengths = block.frame.select(pl.sum_horizontal(pl.col(texts).str.len_bytes().fill_null(0).cast(pl.Int64)))
    return lengths.to_series().to_numpy()


def _join(parts: list[RowBatch]) -> RowBatch:
    if len(parts) == 1:
        return parts[0]
    frame = pl.concat([part.frame for part in parts])
    lines = None if parts[0].lines is None else [line for part in parts for line in part.lines or []]
    return RowBatch(frame, lines)
