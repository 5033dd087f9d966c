"""The rows of a file or stream of any size, a block at a time, in constant memory.

A file is looked through first, so that its rows are told apart as if it had been read whole, and what is wrong
with any of them is said before the work begins. Of a stream only the first part is looked at.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import polars as pl

from finetext.data import json_stream
from finetext.data.chunks import CHUNK, digest_path, file_chunks, stream_chunks, utf8_chunks
from finetext.data.columns import find_text_column
from finetext.data.config import DataConfig
from finetext.data.delimited import Shape, pieces, read_piece, settle
from finetext.data.json_lines import read_json
from finetext.data.reading import (
    choose_form,
    first_line,
    name_columns,
    refuse_wrong_width,
    sniff_binary,
    sniff_text,
)
from finetext.data.structure import count_marks, unix_lines
from finetext.errors import DataError

SLICE = 8192
"""Rows of a Parquet file that are read at a time, fewer if they are long."""


Cells = Literal["typed", "written", "lines"]
"""What is wanted of JSON Lines: columns of numbers, numbers as text as they are written, or the lines themselves."""


@dataclass(frozen=True)
class Block:
    """Some rows, one behind the other."""

    frame: pl.DataFrame
    lines: list[bytes] | None = None
    """The objects of JSON Lines as they stand in the file."""

    def slice(self, start: int, length: int | None = None) -> "Block":
        """Return some of the rows."""
        end = None if length is None else start + length
        return Block(self.frame.slice(start, length), self.lines and self.lines[start:end])


@dataclass(frozen=True)
class Rows:
    """All rows of a file or stream."""

    name: str
    format: str
    columns: tuple[str, ...]
    text_column: str
    height: int | None
    """How many there are; None for a stream."""
    digest: str | None
    """SHA-256 of the file, 64 hexadecimal digits; None for a stream."""
    read: Callable[[Cells], Iterator[Block]] = field(repr=False)

    def blocks(self, cells: Cells = "typed") -> Iterator[Block]:
        """Read the rows from the first on; a stream can be read once.

        Args:
            cells: What is wanted of JSON Lines; with `lines` the tables have the column of the texts alone.
        """
        return self.read(cells)


def rows_of_texts(texts: Sequence[str]) -> Rows:
    """Return texts at hand as the rows of a file."""
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    return Rows("texts", "one-column", ("text",), "text", len(texts), None, lambda _: iter([Block(frame)]))


def open_rows(source: Path | BinaryIO, config: DataConfig, name: str | None = None) -> Rows:
    """Look through a file, or at the start of a stream, and get ready to read it.

    Args:
        source: A path or a binary stream: CSV, TSV, JSON Lines, Parquet or one text a line, gzipped or not.
        config: Format, encoding, quoting and text column.
        name: What to call the source in messages.

    Raises:
        DataError: It cannot be read as what it is or was said to be, or no column could be the texts.
    """
    content = _open(source, config, name or (str(source) if isinstance(source, Path) else "standard input"))
    name = content.name
    if not content.head.strip(b" \r\n"):
        raise DataError(f"{name}: the file is empty.")
    format = config.format if config.format != "auto" else sniff_binary(content.head, name)
    if format == "parquet":
        return _parquet(content, config)
    content = content.decoded()
    if not content.head.strip(b" \r\n"):
        raise DataError(f"{name}: the file is empty.")
    format = format or sniff_text(content.head, name, config)
    if format == "jsonl":
        array = content.head.lstrip().startswith(b"[")
        return _json_array(content, config) if array else _json(content, config)
    return _lines(content, config) if format == "one-column" else _delimited(content, config, format)


@dataclass(frozen=True)
class _Content:
    """What a source holds: of a file all of it, as often as wanted; of a stream its start, and all of it once."""

    name: str
    head: bytes
    complete: bool
    """Whether that is everything."""
    path: Path | None
    encoding: str
    again: Callable[[], Iterator[bytes]] = field(repr=False)

    def everything(self) -> Iterator[bytes]:
        """Return all chunks; of a stream only once."""
        return self.again()

    def known(self) -> Iterator[bytes]:
        """Return the chunks that can be looked at in advance."""
        return self.again() if self.path is not None or self.complete else iter([self.head])

    @property
    def open_ended(self) -> bool:
        """Whether there is more than can be looked at in advance."""
        return self.path is None and not self.complete

    def decoded(self) -> "_Content":
        """Return the same as UTF-8, its head cut behind a line."""
        again = self.again
        if self.complete:  # not only the start of a stream, which is read once
            head = b"".join(utf8_chunks([self.head], self.name, self.encoding))
            return replace(self, head=head, again=lambda: iter([head]))
        if self.path is not None:
            chunks = utf8_chunks(again(), self.name, self.encoding)
            head, _ = _take(chunks)
            content = replace(self, again=lambda: utf8_chunks(again(), self.name, self.encoding))
        else:
            rest = utf8_chunks(again(), self.name, self.encoding)
            head, _ = _take(rest)
            whole = head
            content = replace(self, again=lambda: itertools.chain([whole], rest))
        return replace(content, head=head[: head.rfind(b"\n") + 1] or head)

    def with_unix_lines(self) -> "_Content":
        """Return the same with LF for every CR."""
        again = self.again
        return replace(self, head=unix_lines(self.head), again=lambda: map(unix_lines, again()))


def _open(source: Path | BinaryIO, config: DataConfig, name: str) -> _Content:
    path = source if isinstance(source, Path) else None
    chunks = stream_chunks(source, name) if not isinstance(source, Path) else file_chunks(source, name)
    head, complete = _take(chunks)
    if complete:
        return _Content(name, head, True, path, config.encoding, lambda: iter([head]))
    if path is not None:
        return _Content(name, head, False, path, config.encoding, lambda: file_chunks(path, name))
    return _Content(name, head, False, None, config.encoding, lambda: itertools.chain([head], chunks))


def _take(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return the first `CHUNK` bytes or more, and whether that is everything."""
    taken = b""
    for chunk in chunks:
        taken += chunk
        if len(taken) >= CHUNK:
            return taken, False
    return taken, True


def _rows(
    content: _Content,
    format: str,
    columns: list[str],
    text_column: str,
    height: int | None,
    read: Callable[[Cells], Iterator[Block]],
) -> Rows:
    digest = None if content.path is None else digest_path(content.path, content.name)
    known = None if content.open_ended else height
    return Rows(content.name, format, tuple(columns), text_column, known, digest, read)


# Delimited text -----------------------------------------------------------------------------------


def _delimited(content: _Content, config: DataConfig, format: str) -> Rows:
    name = content.name
    format, delimiter, quoting = choose_form(content.head, name, format, config)
    marks = count_marks(content.known())
    if marks.only_returns:
        content = content.with_unix_lines()
        marks = count_marks(content.known())

    def known(shape: Shape) -> Iterator[bytes]:
        return pieces(content.known(), shape, ended=not content.open_ended)

    shape, height = settle(known, marks, name, delimiter, quoting)
    if content.open_ended and quoting != "none" and (shape.quotes == "enclosing" or not marks.quotes):
        shape = replace(shape, quotes="stray")  # which reads both, whatever quotes are still to come
    first = read_piece(next(known(shape)), shape, name)
    headerless = format == "two-column"
    if headerless:
        refuse_wrong_width(first, name)
    if not first.frame.height:
        raise DataError(f"{name}: the file is empty.")
    names = first.frame.columns if headerless else name_columns(list(first.frame.row(0)))
    sample = first.frame.rename(dict(zip(first.frame.columns, names, strict=True)))
    column = find_text_column(sample, config, name, headerless)
    skipped = 0 if headerless else 1
    return _rows(
        content,
        format,
        names,
        column,
        height - skipped,
        lambda _: _delimited_blocks(content, shape, names, skipped),
    )


def _delimited_blocks(content: _Content, shape: Shape, names: list[str], skipped: int) -> Iterator[Block]:
    before = 0
    for piece in pieces(content.everything(), shape):
        grid = read_piece(piece, shape, content.name, before)
        before += grid.total
        frame = grid.frame.slice(skipped)
        skipped = max(0, skipped - grid.frame.height)
        frame.columns = names
        yield Block(frame)


def _lines(content: _Content, config: DataConfig) -> Rows:
    marks = count_marks(content.known())
    shape = Shape("\t", "plain", marks.ends_returned)
    column = find_text_column(pl.DataFrame(schema=["text"]), config, content.name, headerless=True)

    def read(cells: Cells) -> Iterator[Block]:
        for piece in pieces(content.everything(), shape):
            lines = piece.decode().removesuffix("\n").split("\n")
            if shape.crlf:
                lines = [line.removesuffix("\r") for line in lines]
            yield Block(pl.DataFrame({"text": lines}, schema={"text": pl.String}))

    return _rows(content, "one-column", ["text"], column, marks.lines, read)


# JSON ---------------------------------------------------------------------------------------------


def _json(content: _Content, config: DataConfig) -> Rows:
    name, shape = content.name, Shape("\t", "plain", False)
    keys = json_stream.survey(pieces(content.known(), shape), name)
    columns = list(keys.kinds)
    column = find_text_column(pl.DataFrame(schema=columns), config, name)

    def read(cells: Cells) -> Iterator[Block]:
        whole = pieces(content.everything(), shape)
        for frame, lines in json_stream.frames(
            whole, name, keys, typed=cells == "typed", wanted=[column] if cells == "lines" else None
        ):
            yield Block(frame, lines)

    return _rows(content, "jsonl", columns, column, keys.rows, read)


def _json_array(content: _Content, config: DataConfig) -> Rows:
    """Read one JSON array, which is a single document and so is held in memory."""
    frame, _ = read_json(b"".join(content.everything()), content.name)
    column = find_text_column(frame, config, content.name)
    return _rows(
        replace(content, complete=True),
        "jsonl",
        frame.columns,
        column,
        frame.height,
        lambda _: iter([Block(frame)]),
    )


# Parquet ------------------------------------------------------------------------------------------


def _parquet(content: _Content, config: DataConfig) -> Rows:
    name = content.name
    place, kept = _on_disk(content)
    try:
        height = int(pl.scan_parquet(place).select(pl.len()).collect().item())
        columns = pl.scan_parquet(place).collect_schema().names()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(f"{name}: not a readable Parquet file: {first_line(error)}") from error
    column = find_text_column(pl.DataFrame(schema=columns), config, name)
    bytes_a_row = place.stat().st_size / max(1, height)
    step = int(min(SLICE, max(16, CHUNK / max(1.0, bytes_a_row))))

    def read(cells: Cells) -> Iterator[Block]:
        _ = kept  # the temporary file lives as long as it is read
        for start in range(0, max(1, height), step):
            try:
                frame = pl.scan_parquet(place).slice(start, step).collect()
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
                raise DataError(f"{name}: not a readable Parquet file: {first_line(error)}") from error
            yield Block(frame)

    return _rows(replace(content, complete=True), "parquet", columns, column, height, read)


def _on_disk(content: _Content) -> tuple[Path, object]:
    """Return a path to the plain file, which Parquet needs since its end says where things are."""
    if content.path is not None:
        with content.path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                return content.path, None
    kept = tempfile.NamedTemporaryFile(suffix=".parquet")
    for chunk in content.everything():
        kept.write(chunk)
    kept.flush()
    return Path(kept.name), kept
