"""The bytes of a file or a stream in chunks: unzipped, and as UTF-8."""

import codecs
import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from finetext.errors import DataError, UsageError

CHUNK = 4 << 20
"""Bytes that are read at a time."""
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


def file_chunks(path: Path, name: str) -> Iterator[bytes]:
    """Read a file, gzipped or not.

    Raises:
        DataError: It is not there, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from stream_chunks(file, name)
    except OSError as error:
        raise explain_read_error(error, name) from error


def explain_read_error(error: OSError, name: str) -> DataError:
    """Return what a system's error on reading means for the user."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{name}: no such file.")
    return DataError(f"{name}: cannot be read: {error.strerror or error}.")


def stream_chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Read a stream to its end, gzipped or not.

    Raises:
        DataError: The gzip data are damaged.
    """
    chunks = iter(lambda: stream.read(CHUNK), b"")
    first = next(chunks, b"")
    if not first.startswith(b"\x1f\x8b"):
        yield from itertools.chain([first] if first else [], chunks)
        return
    try:
        yield from _unzip(itertools.chain([first], chunks))
    except (EOFError, zlib.error) as error:
        raise DataError(f"{name}: the gzip file is damaged or cut off: {error}.") from error


def _unzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Unzip any number of gzip members, one behind the other, into chunks of bounded size."""
    engine, begun = zlib.decompressobj(wbits=31), False
    for chunk in chunks:
        while chunk:
            content = engine.decompress(chunk, CHUNK)
            begun = True
            if content:
                yield content
            chunk = engine.unconsumed_tail
            if engine.eof:
                chunk = engine.unused_data.lstrip(b"\0")  # members may be padded with zeros
                engine, begun = zlib.decompressobj(wbits=31), False
    if begun:
        raise EOFError("the end is missing")


def digest_path(path: Path, name: str) -> str:
    """Return the SHA-256 of a file as it lies on the disk, 64 hexadecimal digits."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise explain_read_error(error, name) from error


def utf8_chunks(chunks: Iterable[bytes], name: str, encoding: str) -> Iterator[bytes]:
    """Turn text in any encoding into UTF-8, by its byte order mark where it has one.

    Raises:
        DataError: Some bytes are not in that encoding.
        UsageError: There is no such encoding.
    """
    encoding = known_encoding(encoding)
    decoder: codecs.IncrementalDecoder | None = None
    lines = 0
    for chunk in chunks:
        if decoder is None:
            chunk, encoding = without_mark(chunk, encoding)
            decoder = codecs.getincrementaldecoder(encoding)()
        lines += chunk.count(b"\n")
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            raise _undecodable(error, name, lines, encoding) from error
        yield chunk if _is_utf8(encoding) else text.encode()
    try:
        rest = "" if decoder is None else decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _undecodable(error, name, lines, encoding) from error
    if rest and not _is_utf8(encoding):
        yield rest.encode()


def known_encoding(encoding: str) -> str:
    """Return the name of an encoding of text.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        "".encode(encoding)
        if not codecs.lookup(encoding)._is_text_encoding:
            raise LookupError
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f"--encoding {encoding!r}: no such encoding; try utf-8, latin-1 or cp1252."
        ) from error
    return encoding


def without_mark(content: bytes, encoding: str) -> tuple[bytes, str]:
    """Return text without its byte order mark, and the encoding that the mark stands for."""
    for mark, marked in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return content[len(mark) :], marked
    return content, encoding


def _undecodable(error: UnicodeDecodeError, name: str, lines: int, encoding: str) -> DataError:
    line = lines - error.object.count(b"\n", error.start) + 1
    return DataError(
        f"{name}:{line}: byte 0x{error.object[error.start]:02x} is not {encoding}. "
        "Say how the file is encoded, for example --encoding cp1252."
    )


def _is_utf8(encoding: str) -> bool:
    return encoding.lower().replace("_", "-") in ("utf-8", "utf8")
