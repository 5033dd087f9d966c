"""Fetching a file once, verified, into the cache folder."""

import contextlib
import hashlib
import http.client
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from finetext.errors import DownloadError, FinetextError
from finetext.files import cache_folder, digest_file, writing

CHUNK_BYTES = 1 << 16
LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class Archive:
    """A file on the web that is known by its digest."""

    url: str
    digest: str
    """SHA-256, 64 hexadecimal digits."""
    file: str
    """Its name in the cache folder."""


def downloads_folder() -> Path:
    """Return the folder of downloaded files."""
    return cache_folder() / "downloads"


def fetch(archive: Archive, timeout_seconds: float = 30.0) -> Path:
    """Return the path of a file in the cache, downloaded first if it is not there or is damaged.

    Two processes that want the same file do not clash: the second waits for the first.

    Args:
        archive: What to fetch.
        timeout_seconds: How long the server may stay silent.

    Raises:
        DownloadError: It could not be fetched or is not the expected file. The message says where to put
            the file by hand.
    """
    path = downloads_folder() / archive.file
    if _is_sound(path, archive):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
            if not _is_sound(path, archive):
                _download(archive, path, timeout_seconds)
    except Timeout as error:
        raise DownloadError(
            f"{path}: another process has been downloading it for {LOCK_SECONDS:.0f} s."
        ) from error
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise DownloadError(
            f"{path.parent}: cannot be written to ({error.strerror}). Set FINETEXT_HOME to a folder that can."
        ) from error
    return path


def _is_sound(path: Path, archive: Archive) -> bool:
    return path.is_file() and digest_file(path) == archive.digest


def _download(archive: Archive, path: Path, timeout_seconds: float) -> None:
    by_hand = f"Download it yourself and put it at {path}"
    damaged = "; the file there now is not the published one" if path.exists() else ""
    try:
        request = urllib.request.Request(archive.url, headers={"User-Agent": "finetext"})
        with urllib.request.urlopen(request, timeout=timeout_seconds) as response, writing(path) as file:
            digest = _copy(response, file)
            if digest != archive.digest:
                raise DownloadError(
                    f"{archive.url}: the content is not the expected one (sha256 {digest[:12]}… instead of "
                    f"{archive.digest[:12]}…). {by_hand}."
                )
    except urllib.error.HTTPError as error:
        with error:
            reason = f"the server answers {error.code} {error.reason}"
        raise DownloadError(f"{archive.url}: {reason}. {by_hand}{damaged}.") from error
    except FinetextError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        reason = _describe(error)
        raise DownloadError(f"{archive.url}: no download ({reason}). {by_hand}{damaged}.") from error


def _describe(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, http.client.IncompleteRead):
        return "the connection was cut off"
    if isinstance(reason, TimeoutError):
        return "the server does not answer"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())[:200]


def _copy(response: http.client.HTTPResponse, file: BinaryIO) -> str:
    """Copy a response to a file with a progress bar; return its digest."""
    digest = hashlib.sha256()
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else None
    received = 0
    with _progress(expected) as advance:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            advance(len(chunk))
    if expected is not None and received < expected:
        raise http.client.IncompleteRead(b"", expected - received)
    return digest.hexdigest()


@contextlib.contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("downloading", total=total)
        yield lambda received: progress.advance(task, received)
