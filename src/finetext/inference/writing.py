"""Output formats: labelled rows as the bytes of a file."""

import gzip
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Literal, get_args

import polars as pl

from finetext import files
from finetext.data import Cells
from finetext.errors import DataError, UsageError
from finetext.inference.bulk import LabelledRows, free_names

TableFormat = Literal["csv", "tsv", "jsonl", "parquet"]
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""Characters that make a spreadsheet run a cell as a formula; full-width ones count as their ASCII forms."""


@dataclass(frozen=True)
class OutputFormat:
    """How labelled rows are written."""

    format: TableFormat
    gzipped: bool = False
    spreadsheet_safe: bool = False

    def __post_init__(self) -> None:
        if self.spreadsheet_safe and self.format not in ("csv", "tsv"):
            raise UsageError(f"--spreadsheet-safe is for CSV and TSV, not for {self.format}.")

    @property
    def cells(self) -> Cells:
        """What to read from JSON Lines: Parquet has types, the other formats keep the input as it is written."""
        return {"parquet": "typed", "jsonl": "lines"}.get(self.format, "written")  # type: ignore[return-value]

    def encode(self, labelled: LabelledRows, *, first: bool) -> bytes:
        """Return rows as a part of the file.

        A file may end after any part: each is a gzip member of its own or, since Parquet files cannot grow, an Arrow
        stream preceded by its length.

        Args:
            labelled: The rows.
            first: Whether the file starts with them.
        """
        if not first and not labelled.block.frame.height:
            return b""
        content = self._content(labelled, first)
        # No time in the gzip header: the same rows give the same bytes.
        return gzip.compress(content, mtime=0) if self.gzipped and self.format != "parquet" else content

    def _content(self, labelled: LabelledRows, first: bool) -> bytes:
        if self.format == "parquet":
            stream = BytesIO()
            labelled.table.write_ipc_stream(stream, compression="lz4")
            return struct.pack("<Q", stream.tell()) + stream.getvalue()
        if self.format == "jsonl":
            return _json_lines(labelled)
        frame = _flat(labelled.table)
        frame = spreadsheet_safe(frame) if self.spreadsheet_safe else frame
        separator = "\t" if self.format == "tsv" else ","
        return frame.write_csv(separator=separator, include_header=first).encode()


def output_format(path: Path, *, spreadsheet_safe: bool = False) -> OutputFormat:
    """Return the format that a file's name stands for; `.gz` at the end means gzipped.

    Raises:
        UsageError: The name stands for none.
    """
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes if suffix != ".gz"]
    last = suffixes[-1] if suffixes else ""
    name = {"json": "jsonl", "ndjson": "jsonl"}.get(last, last)
    if name not in get_args(TableFormat):
        raise UsageError(
            f"{path}: unknown format. Use a name that ends in .csv, .tsv, .jsonl or .parquet (also .gz)."
        )
    return OutputFormat(name, path.suffix == ".gz", spreadsheet_safe)  # type: ignore[arg-type]


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise UsageError if `path` exists and may not be overwritten."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: already exists. Choose another --output, or pass --overwrite.")


def spreadsheet_safe(frame: pl.DataFrame) -> pl.DataFrame:
    """Put an apostrophe before each text and column name that a spreadsheet would run as a formula."""
    start = pl.col(pl.String).str.slice(0, 1).is_in(list(FORMULA_STARTS))
    frame = frame.with_columns(
        pl.when(start).then("'" + pl.col(pl.String)).otherwise(pl.col(pl.String)).name.keep()
    )
    starts = tuple(FORMULA_STARTS)
    frame.columns = free_names(f"'{name}" if name.startswith(starts) else name for name in frame.columns)
    return frame


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with JSON in place of lists and structs, which CSV does not have."""
    as_json = partial(json.dumps, ensure_ascii=False, default=str)
    for name, dtype in frame.schema.items():
        if dtype == pl.Binary:
            raise DataError(
                f"column {name!r} holds bytes, which CSV cannot represent. Write .parquet instead."
            )
        if dtype.is_nested():
            cells = [None if cell is None else as_json(cell) for cell in frame[name].to_list()]
            frame = frame.with_columns(pl.Series(name, cells, dtype=pl.String))
    return frame


def _json_lines(labelled: LabelledRows) -> bytes:
    if labelled.block.lines is None:
        return labelled.table.write_ndjson().encode()
    predictions = labelled.predictions.write_ndjson().encode().splitlines()
    return b"".join(
        line[:-1] + (b"," if line[1:-1].strip() else b"") + prediction[1:] + b"\n"
        for line, prediction in zip(labelled.block.lines, predictions, strict=True)
    )


def write_parquet(parts: Path, target: Path) -> None:
    """Convert the parts written so far to a Parquet file, in constant memory."""
    from polars.io.plugins import register_io_source

    schema = next(_read_parts(parts)).schema
    table = register_io_source(lambda *_: _read_parts(parts), schema=schema)
    with files.writing(target) as out:
        try:
            # With the statistics and codec that Polars uses by default.
            table.sink_parquet(out, maintain_order=True, row_group_size=1 << 16)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise files.explain_write_error(error, target) from error


def _read_parts(parts: Path) -> Iterator[pl.DataFrame]:
    with parts.open("rb") as file:
        while length := file.read(8):
            yield pl.read_ipc_stream(BytesIO(file.read(struct.unpack("<Q", length)[0])))
