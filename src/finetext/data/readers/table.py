"""Opening a file of any format: whole as a table, or of any size as batches of rows in constant memory.

A file is looked through first, so that what is wrong with any of its rows is reported before the work begins. Of a
stream only the start is looked at.
"""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

from finetext.data.columns import find_text_column
from finetext.data.config import DataConfig
from finetext.data.readers.batches import RawTable, RowBatch, Rows
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
    rows = _open(open_content(io.BytesIO(source) if isinstance(source, bytes) else source, name), config)
    batches = list(rows.read("native", None))
    if not batches:
        raise DataError(f"{rows.name}: the file is empty.")
    frame = pl.concat([batch.frame for batch, _ in batches])
    numbers = np.concatenate([numbers for _, numbers in batches])
    return RawTable(frame, numbers, rows.name, rows.format, rows.headerless)


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
    rows = _open(content, config)
    column = find_text_column(rows.sample, config, rows.name, rows.headerless)
    digest = None if content.path is None else digest_file(content.path)
    return replace(rows, text_column=column, digest=digest)


def rows_of_texts(texts: Sequence[str]) -> Rows:
    """Return texts in memory as the rows of a file."""
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    numbered = (RowBatch(frame), np.arange(1, len(texts) + 1))
    return Rows("texts", "one-column", frame, len(texts), lambda *_: iter([numbered]), text_column="text")


def _open(content: Content, config: DataConfig) -> Rows:
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
