"""Cutting the blocks in which a file is read into the windows in which it is labelled."""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.data import RowBatch

WINDOW_ROWS = 8192
"""Rows that are looked at together, so that texts of like length share a batch ..."""
WINDOW_BYTES = 8 << 20
"""... and the most text that they hold, unless a single row has more."""


def windows(blocks: Iterable[RowBatch], skip: int = 0) -> Iterator[RowBatch]:
    """Cut rows into windows that depend on the rows alone, not on how they were read.

    Args:
        blocks: The rows.
        skip: Rows to leave out at the start; where a window ended, the next are as if none had been left out.

    Yields:
        At least one window; an empty one if there is no row.
    """
    parts: list[RowBatch] = []
    rows = size = 0
    none: RowBatch | None = None  # of the columns, without a row; stays only if no window came
    first = True
    for block in blocks:
        skipped = min(skip, block.frame.height)
        skip -= skipped
        rest = block.slice(skipped)
        none = rest.slice(0, 0)
        while rest.frame.height:
            sizes = np.cumsum(_sizes(rest))
            fit = min(WINDOW_ROWS - rows, int(np.searchsorted(sizes, WINDOW_BYTES - size, side="right")))
            fit = max(fit, 0 if rows else 1)
            parts.append(rest.slice(0, fit))
            rows, size = rows + fit, size + (int(sizes[fit - 1]) if fit else 0)
            rest = rest.slice(fit)
            if rest.frame.height or rows == WINDOW_ROWS:
                yield _join(parts)
                parts, rows, size, first = [], 0, 0, False
    if parts:
        yield _join(parts)
    elif first and none is not None:
        yield none


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
