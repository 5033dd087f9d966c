"""What a reader yields: the rows of a file, a batch at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.data.config import SplitName
from finetext.data.dataset import Source

Cells = Literal["native", "typed", "written", "lines"]
"""How the values of JSON are read: as they are; with lists and objects as text; all as text, numbers as they are
written in the file; or not at all but for the texts, because the lines are kept as they stand."""


@dataclass(frozen=True)
class RowBatch:
    """Some consecutive rows."""

    frame: pl.DataFrame
    lines: list[bytes] | None = None
    """The objects of JSON Lines as they stand in the file."""

    def slice(self, start: int, length: int | None = None) -> "RowBatch":
        """Return some of the rows."""
        end = None if length is None else start + length
        return RowBatch(self.frame.slice(start, length), self.lines and self.lines[start:end])


NumberedBatch = tuple[RowBatch, NDArray[np.int64]]
"""A batch, and the row of each of its rows in the file, from 1; the header, where there is one, is row 1."""


@dataclass(frozen=True)
class Rows:
    """All rows of a file or stream, to be read from the first on, a batch at a time; a stream only once."""

    name: str
    """What to call it in messages."""
    format: str
    sample: pl.DataFrame
    """The columns, with the first rows where the content decides which column is which."""
    height: int | None
    """Number of rows; None for a stream."""
    read: Callable[[Cells, str | None], Iterator[NumberedBatch]] = field(repr=False)
    """Yields the rows; with `lines` only the column of that name."""
    headerless: bool = False
    text_column: str = ""
    """Name of the column with the texts."""
    digest: str | None = None
    """SHA-256 of the file, 64 hexadecimal digits; None for a stream."""

    @property
    def columns(self) -> list[str]:
        """The names of all columns."""
        return self.sample.columns

    def batches(self, cells: Cells = "typed") -> Iterator[RowBatch]:
        """Read the rows.

        Args:
            cells: How the values of JSON are read; with `lines` the tables have the column of the texts alone.
        """
        return (batch for batch, _ in self.read(cells, self.text_column))


@dataclass(frozen=True)
class RawTable:
    """A whole file: all its columns, nothing dropped but blank lines."""

    frame: pl.DataFrame
    rows: NDArray[np.int64]
    """Row of each line in the file, from 1; the header, where there is one, is row 1."""
    name: str
    format: str
    headerless: bool = False
    split: SplitName = "train"
    """The split that it is, if the source has several tables."""


@dataclass(frozen=True)
class Loaded:
    """The tables of a source and where they came from."""

    source: Source
    tables: tuple[RawTable, ...]
