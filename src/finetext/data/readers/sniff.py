"""Finding out how a file is written: its format, its delimiter, and whether its first line is a header."""

from pathlib import Path
from typing import Literal

from finetext.data.columns import is_header, label_position
from finetext.data.config import DataConfig
from finetext.data.readers.fields import Dialect, parse
from finetext.errors import DataError

_SUFFIXES = {"csv": ".csv", "tsv": ".tsv .tab", "jsonl": ".json .jsonl .ndjson", "parquet": ".parquet .pq"}
FORMATS = {suffix: format for format, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
SNIFFED_BYTES = 1 << 16


def sniff_binary(head: bytes, name: str) -> str:
    """Return the format that a file's first bytes or its name stand for, an empty string if neither tells.

    Raises:
        DataError: It is a zip or spreadsheet file.
    """
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{name}: this is a zip or spreadsheet file. Unpack it, or save it as CSV or Parquet."
        )
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return FORMATS.get(suffix, "")


def sniff_text(text: bytes, config: DataConfig) -> str:
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
    """Return whether the first line holds column names, which no other line has in the same place."""
    first = _cells(lines[0], delimiter)
    if is_header(first):
        return True
    if len(lines) < 2 or not is_header(first, partly=True):
        return False
    others = (_cells(line, delimiter) for line in lines[1:])
    return not any(cell == name for cells in others for cell, name in zip(cells, first, strict=False))


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.split(delimiter)]


def choose_dialect(
    head: bytes, name: str, format: str, config: DataConfig
) -> tuple[str, str, Literal["auto", "csv", "none"]]:
    """Return how delimited text is to be split: its format (two-column has no header), delimiter and quoting."""
    first = head.lstrip(b" \r\n").split(b"\n", 1)[0].decode(errors="replace")
    if format == "tsv" and config.format == "auto" and _lacks_header(head, first, config):
        format = "two-column"
    if format == "two-column":
        return format, "\t", "none" if config.quoting == "auto" else config.quoting
    return format, "\t" if format == "tsv" else _find_delimiter(first, config), config.quoting


def _find_delimiter(first: str, config: DataConfig) -> str:
    chosen = {config.text_column, config.label_column} - {None}
    for delimiter in (",", ";", "\t", "|"):
        cells = _cells(first, delimiter)
        if len(cells) > 1 and (is_header(cells) or chosen & set(cells)):
            return delimiter
    return next((delimiter for delimiter in (",", ";", "\t") if delimiter in first), ",")


def _lacks_header(head: bytes, first: str, config: DataConfig) -> bool:
    """Return whether a tab-separated file of two columns starts with an example, not with column names."""
    cells = _cells(first, "\t")
    chosen = {config.text_column, config.label_column, config.split_column} - {None, "column 1", "column 2"}
    if len(cells) != 2 or is_header(cells) or chosen:
        return False
    parsed, _ = parse(head, Dialect("\t", quoted=False))
    if parsed.uneven or parsed.frame.width != 2:
        return False
    labels = parsed.frame.to_series(label_position(parsed.frame))
    return parsed.frame.height > 1 and labels[0] in labels[1:]
