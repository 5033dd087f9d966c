"""Opening a file of any format: whole as a table, or of any size as batches of rows in constant memory.

A file is looked through first, so that what is wrong with any of its rows is reported before the work begins. Of a
stream only the start is looked at.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from finetext.data.columns import find_text_column
from finetext.data.config import DataConfig
from finetext.data.readers.batches import Cells, RawTable, Reader, RowBatch
from finetext.data.readers.csv import open_delimited
from finetext.data.readers.decode import Content, open_content
from finetext.data.readers.jsonl import open_jsonl
from finetext.data.readers.parquet import open_parquet
from finetext.data.readers.sniff import sniff_binary, sniff_text
from finetext.data.readers.text import open_text
from finetext.errors import DataError
from finetext.files import digest_file


def read_table(source: Path | bytes, config: DataConfig, name: str | None = None) -> RawTable:
    """Read a file whole.

    Args:
        source: A path, or the bytes themselves.
        config: Format, encoding and quoting, where the user chose them.
        name: What to call the file in messages; by default its path.

    Raises:
        DataError: The file cannot be read as what it is or was said to be.
    """
    reader = _open(open_content(source, name), config)
    batches = list(reader.read("native", None))
    if not batches:
        raise DataError(f"{reader.name}: the file is empty.")
    frame = pl.concat([batch.frame for batch, _ in batches])
    rows = np.concatenate([numbers for _, numbers in batches])
    return RawTable(frame, rows, reader.name, reader.format, reader.headerless)


@dataclass(frozen=True)
class Rows:
    """All rows of a file or stream, to be read a batch at a time."""

    name: str
    format: str
    columns: tuple[str, ...]
    text_column: str
    height: int | None
    """Number of rows; None for a stream."""
    digest: str | None
    """SHA-256 of the file, 64 hexadecimal digits; None for a stream."""
    reader: Reader = field(repr=False)

    def batches(self, cells: Cells = "typed") -> Iterator[RowBatch]:
        """Read the rows from the first on; a stream can be read once.

        Args:
            cells: How the values of JSON are read; with `lines` the tables have the column of the texts alone.
        """
        return (batch for batch, _ in self.reader.read(cells, self.text_column))


def open_rows(source: Path | BinaryIO, config: DataConfig, name: str | None = None) -> Rows:
    """Look through a file, or at the start of a stream, and get ready to read it.

    Args:
        source: A path or a binary stream: CSV, TSV, JSON Lines, Parquet or one text a line, gzipped or not.
        config: Format, encoding, quoting and text column.
        name: What to call the source in messages.

    Raises:
        DataError: It cannot be read as what it is or was said to be, or no column could be the texts.
    """
    content = open_content(source, name)
    reader = _open(content, config)
    column = find_text_column(reader.sample, config, reader.name, reader.headerless)
    digest = None if content.path is None else digest_file(content.path)
    return Rows(
        reader.name, reader.format, tuple(reader.sample.columns), column, reader.height, digest, reader
    )


def rows_of_texts(texts: Sequence[str]) -> Rows:
    """Return texts in memory as the rows of a file."""
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    numbered = (RowBatch(frame), np.arange(1, len(texts) + 1))
    reader = Reader("texts", "one-column", frame, len(texts), lambda cells, column: iter([numbered]))
    return Rows("texts", "one-column", ("text",), "text", len(texts), None, reader)


def _open(content: Content, config: DataConfig) -> Reader:
    content.refuse_empty()
    format = config.format if config.format != "auto" else sniff_binary(content.head, content.name)
    if format == "parquet":
        return open_parquet(content)
    content = content.decoded(config.encoding)
    content.refuse_empty()
    format = format or sniff_text(content.head, config)
    if format == "jsonl":
        return open_jsonl(content)
    return open_text(content) if format == "one-column" else open_delimited(content, config, format)
