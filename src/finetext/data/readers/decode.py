"""The bytes of a file or a stream in chunks: decompressed, and as UTF-8."""

import codecs
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from finetext.errors import DataError, UsageError

CHUNK_BYTES = 4 << 20
"""How much is read at a time."""
GZIP = b"\x1f\x8b"
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


@dataclass(frozen=True)
class Content:
    """What a source holds: a file can be read as often as needed, a stream only once."""

    name: str
    """What to call the source in messages."""
    head: bytes
    """The first `CHUNK_BYTES` or more."""
    complete: bool
    """Whether `head` is everything."""
    path: Path | None
    chunks: Callable[[], Iterator[bytes]] = field(repr=False)
    """Reads everything from the start; on a stream it can be called once."""

    @property
    def open_ended(self) -> bool:
        """Whether this is a stream that goes on after `head`."""
        return self.path is None and not self.complete

    def known(self) -> Iterator[bytes]:
        """Return the chunks that can be looked at before the actual reading."""
        return iter([self.head]) if self.open_ended else self.chunks()

    def refuse_empty(self) -> None:
        """Raise DataError if there is nothing but line ends and blanks."""
        if not self.head.strip(b" \r\n"):
            raise DataError(f"{self.name}: the file is empty.")

    def decoded(self, encoding: str) -> "Content":
        """Return the same as UTF-8, its head cut behind a line."""
        chunks = utf8_chunks(self.chunks(), self.name, encoding)
        head, _ = _take_head(chunks)
        cut = head if self.complete else head[: head.rfind(b"\n") + 1] or head
        if self.open_ended:
            return replace(self, head=cut, chunks=lambda: itertools.chain([head], chunks))
        return replace(self, head=cut, chunks=lambda: utf8_chunks(self.chunks(), self.name, encoding))

    def with_unix_lines(self) -> "Content":
        """Return the same with LF for every CR, for files whose lines end in CR alone."""
        return replace(
            self,
            head=self.head.replace(b"\r", b"\n"),
            chunks=lambda: (chunk.replace(b"\r", b"\n") for chunk in self.chunks()),
        )


def open_content(source: Path | BinaryIO, name: str | None = None) -> Content:
    """Read the start of a file or a stream.

    Raises:
        DataError: It cannot be read.
    """
    path = source if isinstance(source, Path) else None
    name = name or (str(path) if path else "standard input")
    chunks = file_chunks(source, name) if isinstance(source, Path) else stream_chunks(source, name)
    head, complete = _take_head(chunks)
    if complete:
        return Content(name, head, True, path, lambda: iter([head]))
    if path is not None:
        return Content(name, head, False, path, lambda: file_chunks(path, name))
    return Content(name, head, False, None, lambda: itertools.chain([head], chunks))


def _take_head(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return the first `CHUNK_BYTES` or more, and whether that is everything."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= CHUNK_BYTES:
            return head, False
    return head, True


def file_chunks(path: Path, name: str) -> Iterator[bytes]:
    """Read a file, gzipped or not.

    Raises:
        DataError: It is missing or cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from stream_chunks(file, name)
    except FileNotFoundError as error:
        raise DataError(f"{name}: no such file.") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror or error}.") from error


def stream_chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Read a stream to its end, gzipped or not.

    Raises:
        DataError: The gzip data are damaged.
    """
    first = stream.read(CHUNK_BYTES)
    chunks = itertools.chain([first], iter(lambda: stream.read(CHUNK_BYTES), b"")) if first else iter([])
    try:
        yield from _unzip(chunks) if first.startswith(GZIP) else chunks
    except (EOFError, zlib.error) as error:
        raise DataError(f"{name}: the gzip file is damaged or cut off: {error}.") from error


def _unzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress any number of concatenated gzip members into chunks of bounded size."""
    engine, inside = zlib.decompressobj(wbits=31), False
    for chunk in chunks:
        while chunk:
            content = engine.decompress(chunk, CHUNK_BYTES)
            inside = True
            if content:
                yield content
            chunk = engine.unconsumed_tail
            if engine.eof:
                chunk = engine.unused_data.lstrip(b"\0")  # members may be padded with zeros
                engine, inside = zlib.decompressobj(wbits=31), False
    if inside:
        raise EOFError("the end is missing")


def whole_lines(chunks: Iterable[bytes], *, ended: bool = True) -> Iterator[bytes]:
    """Regroup chunks so that each ends at a line end.

    Args:
        chunks: The source from its start.
        ended: Whether that is all of it; if not, a last line that is cut off is left out.
    """
    held = b""
    for chunk in chunks:
        held += chunk
        end = held.rfind(b"\n") + 1
        if end:
            yield held[:end]
            held = held[end:]
    if held and ended:
        yield held


def utf8_chunks(chunks: Iterable[bytes], name: str, encoding: str) -> Iterator[bytes]:
    """Convert text in any encoding to UTF-8; a byte order mark takes precedence over `encoding`.

    Raises:
        DataError: Some bytes are invalid in that encoding.
        UsageError: There is no such encoding.
    """
    _check_encoding(encoding)
    decoder: codecs.IncrementalDecoder | None = None
    lines = 0
    for chunk in itertools.chain(chunks, [b""]):  # the empty one ends it
        final = not chunk
        if decoder is None:
            for mark, marked in BYTE_ORDER_MARKS:
                if chunk.startswith(mark):
                    chunk, encoding = chunk.removeprefix(mark), marked
                    break
            decoder = codecs.getincrementaldecoder(encoding)()
        lines += chunk.count(b"\n")
        try:
            text = decoder.decode(chunk, final=final)
        except UnicodeDecodeError as error:
            line = lines - error.object.count(b"\n", error.start) + 1
            raise DataError(
                f"{name}:{line}: byte 0x{error.object[error.start]:02x} is not {encoding}. "
                "Say how the file is encoded, for example --encoding cp1252."
            ) from error
        is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        if content := chunk if is_utf8 else text.encode():
            yield content


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)  # refuses codecs that are not text encodings, such as base64
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"--encoding {encoding!r}: no such encoding; try utf-8, latin-1 or cp1252."
        ) from error
