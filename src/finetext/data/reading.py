"""Reading one file of any format into a table, without losing a row."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import polars as pl

from finetext.data.chunks import file_chunks, stream_chunks, utf8_chunks
from finetext.data.columns import is_header, label_position
from finetext.data.config import DataConfig
from finetext.data.delimited import Grid, parse
from finetext.data.json_lines import read_json
from finetext.errors import DataError

FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
SNIFFED_BYTES = 1 << 16


@dataclass(frozen=True)
class RawTable:
    """A file as it stands: all its columns, nothing dropped but blank lines."""

    frame: pl.DataFrame
    rows: np.ndarray
    """Row of each line in the file, from 1; the header, where there is one, is row 1."""
    name: str
    format: str
    headerless: bool = False


def read_table(source: Path | BinaryIO | bytes, config: DataConfig, name: str | None = None) -> RawTable:
    """Read a file, or what a stream holds, in the format that it has.

    Args:
        source: A path, a binary stream, or the bytes themselves.
        config: Format, encoding and quoting, where the user chose them.
        name: What to call the file in messages; by default its path.

    Raises:
        DataError: The file cannot be read as what it is or was said to be.
    """
    content, name = _load(source, name)
    if not content.strip(b" \r\n"):
        raise DataError(f"{name}: the file is empty.")
    format = config.format if config.format != "auto" else sniff_binary(content, name)
    if format == "parquet":
        return _read_parquet(content, name)
    text = b"".join(utf8_chunks([content], name, config.encoding))
    if not text.strip(b" \r\n"):
        raise DataError(f"{name}: the file is empty.")
    if not format:
        format = sniff_text(text, name, config)
    if format == "jsonl":
        frame, rows = read_json(text, name)
        return RawTable(frame, rows, name, format)
    return _read_delimited(text, name, format, config)


def _load(source: Path | BinaryIO | bytes, name: str | None) -> tuple[bytes, str]:
    if isinstance(source, Path):
        name = name or str(source)
        return b"".join(file_chunks(source, name)), name
    name = name or "standard input"
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    return b"".join(stream_chunks(stream, name)), name


def sniff_binary(content: bytes, name: str) -> str:
    """Return the format that a file's first bytes or its name stand for, an empty string if neither says.

    Raises:
        DataError: It is a zip or spreadsheet file.
    """
    if content.startswith(b"PAR1"):
        return "parquet"
    if content.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{name}: this is a zip or spreadsheet file. Unpack it, or save it as CSV or Parquet."
        )
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return FORMATS.get(suffix, "")


def sniff_text(text: bytes, name: str, config: DataConfig) -> str:
    """Return the format that text is written in, by its first 64 KiB."""
    head = text[:SNIFFED_BYTES].decode(errors="ignore").lstrip(" \r\n")
    if head.startswith("{") or head.startswith(("[{", "[\n", "[ ", "[\r")):
        return "jsonl"
    lines = [line for line in head.split("\n") if line.strip(" \r\n")]
    lines = lines[:-1] if len(text) > SNIFFED_BYTES and len(lines) > 1 else lines
    for delimiter, format in (("\t", "tsv"), (",", "csv"), (";", "csv")):
        if _has_header(lines, delimiter):
            return format
    with_tabs = sum(line.count("\t") == 1 for line in lines)
    if with_tabs > len(lines) / 2:
        return "two-column"
    if lines[0].count("\t"):
        return "tsv"
    return "csv" if config.text_column or config.label_column else "one-column"


def _has_header(lines: list[str], delimiter: str) -> bool:
    """Say whether the first line holds column names, which no other line has in the same place."""
    first = _cells(lines[0], delimiter)
    if is_header(first):
        return True
    if len(lines) < 2 or not is_header(first, partly=True):
        return False
    others = (_cells(line, delimiter) for line in lines[1:])
    return not any(cell == name for cells in others for cell, name in zip(cells, first, strict=False))


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def choose_form(
    text: bytes, name: str, format: str, config: DataConfig
) -> tuple[str, str, Literal["auto", "csv", "none"]]:
    """Return how delimited text is to be split: its format (two-column has no header), delimiter and quoting."""
    if format == "two-column":
        return format, "\t", "none" if config.quoting == "auto" else config.quoting
    first = text.lstrip(b" \r\n").split(b"\n", 1)[0].decode(errors="replace")
    delimiter = "\t" if format == "tsv" else _find_delimiter(first, config)
    if format == "tsv" and config.format == "auto" and _lacks_header(text, first, name, config):
        return choose_form(text, name, "two-column", config)
    return format, delimiter, config.quoting


def _read_delimited(text: bytes, name: str, format: str, config: DataConfig) -> RawTable:
    if format == "one-column":
        return _read_lines(text, name)
    format, delimiter, quoting = choose_form(text, name, format, config)
    grid = parse(text, name, delimiter, quoting)
    if format == "two-column":
        refuse_wrong_width(grid, name)
        return RawTable(grid.frame, grid.rows, name, format, headerless=True)
    if not grid.frame.height:
        raise DataError(f"{name}: the file is empty.")
    names = name_columns(list(grid.frame.row(0)))
    frame = grid.frame.slice(1)
    frame.columns = names
    return RawTable(frame, grid.rows[1:], name, format)


def _read_lines(text: bytes, name: str) -> RawTable:
    lines = text.decode().removesuffix("\n").split("\n")
    if all(line.endswith("\r") for line in lines[:-1]):
        lines = [line.removesuffix("\r") for line in lines]
    frame = pl.DataFrame({"text": lines}, schema={"text": pl.String})
    return RawTable(frame, np.arange(1, len(lines) + 1), name, "one-column", headerless=True)


def refuse_wrong_width(grid: Grid, name: str) -> None:
    """Raise DataError if a file without a header has not a label and a text."""
    if grid.frame.width != 2:
        raise DataError(
            f"{name}: {grid.frame.width} tab-separated columns where a file without a header has two, label "
            "and text. Say what it is with --format, or give it a header line."
        )


def _find_delimiter(first: str, config: DataConfig) -> str:
    chosen = [name for name in (config.text_column, config.label_column) if name]
    for delimiter in (",", ";", "\t", "|"):
        cells = _cells(first, delimiter)
        if len(cells) > 1 and (is_header(cells) or set(chosen) & set(cells)):
            return delimiter
    return next((delimiter for delimiter in (",", ";", "\t") if delimiter in first), ",")


def _lacks_header(text: bytes, first: str, name: str, config: DataConfig) -> bool:
    """Say whether a tab-separated file of two columns starts with an example instead of column names."""
    cells = _cells(first, "\t")
    chosen = {config.text_column, config.label_column, config.split_column} - {None, "column 1", "column 2"}
    if len(cells) != 2 or is_header(cells) or chosen:
        return False
    try:
        frame = parse(text, name, "\t", "none").frame
    except DataError:
        return False
    if frame.width != 2:
        return False
    labels = frame.to_series(label_position(frame))
    return frame.height > 1 and labels[0] in labels[1:]


def name_columns(names: list[str]) -> list[str]:
    """Return column names that are all there and all different."""
    unique: list[str] = []
    for position, name in enumerate(names, start=1):
        name = name.strip("\r \t\ufeff") or f"column {position}"
        unique.append(name if name not in unique else f"{name} (column {position})")
    return unique


def _read_parquet(content: bytes, name: str) -> RawTable:
    try:
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {first_line(error)}") from error
    return RawTable(frame, np.arange(1, frame.height + 1), name, "parquet")


def first_line(error: BaseException) -> str:
    """Return the first line of what another library says."""
    return str(error).strip().split("\n", 1)[0][:200]
