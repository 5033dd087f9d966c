"""Grouping a file's rows into the batches in which it is labelled."""

from collections.abc import Iterable, Iterator

import polars as pl

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
    for block in blocks:
        skipped = min(skip, block.frame.height)
        skip -= skipped
        rest = block.slice(skipped)
        start = 0
        for row, length in enumerate(_sizes(rest)):
            if rows == BATCH_ROWS or (rows and size + length > BATCH_BYTES):
                yield _join([*parts, rest.slice(start, row - start)])
                parts, rows, size, start, yielded = [], 0, 0, row, True
            rows, size = rows + 1, size + length
        if rest.frame.height or not parts:
            parts.append(rest.slice(start))
    if rows or (parts and not yielded):
        yield _join(parts)


def _sizes(block: RowBatch) -> list[int]:
    """Return the bytes of text in each row."""
    if block.lines is not None:
        return [len(line) for line in block.lines]
    texts = [name for name, dtype in block.frame.schema.items() if dtype == pl.String]
    if not texts:
        return [0] * block.frame.height
    lengths = block.frame.select(pl.sum_horizontal(pl.col(texts).str.len_bytes().fill_null(0).cast(pl.Int64)))
    return lengths.to_series().to_list()


def _join(parts: list[RowBatch]) -> RowBatch:
    if len(parts) == 1:
        return parts[0]
    frame = pl.concat([part.frame for part in parts])
    lines = None if parts[0].lines is None else [line for part in parts for line in part.lines or []]
    return RowBatch(frame, lines)
