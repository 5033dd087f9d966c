"""The built-in datasets: `sample`, which is part of the package, and `sms-spam`, downloaded once and verified."""

import hashlib
import http.client
import sys
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from finetext.data.config import DataConfig
from finetext.data.dataset import Source
from finetext.data.readers.batches import Loaded
from finetext.data.readers.table import read_table
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


SMS_SPAM = Archive(
    url="https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip",
    digest="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    file="sms-spam-collection.zip",
)
SMS_SPAM_MEMBER = "SMSSpamCollection"


def load_sample() -> Loaded:
    """Return the synthetic texts that come with the package."""
    resource = resources.files("finetext.data") / "sample.csv"
    content = resource.read_bytes()
    table = read_table(content, DataConfig(format="csv"), "sample")
    digest = hashlib.sha256(content).hexdigest()
    return Loaded(Source("sample", (Path(str(resource)),), digest, synthetic=True), (table,))


def load_sms_spam(archive: Archive = SMS_SPAM) -> Loaded:
    """Return the SMS Spam Collection (UCI 228, CC BY 4.0), downloaded on first use.

    Raises:
        DownloadError: It could not be fetched, or is not the published file.
    """
    path = fetch(archive)
    content = read_member(path, SMS_SPAM_MEMBER)
    table = read_table(content, DataConfig(format="two-column"), "sms-spam")
    return Loaded(Source("sms-spam", (path,), hashlib.sha256(content).hexdigest()), (table,))


def read_member(path: Path, member: str) -> bytes:
    """Return the content of one member of a zip file; nothing is extracted to disk.

    Raises:
        DownloadError: The archive is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except KeyError as error:
        raise DownloadError(f"{path}: the archive has no file {member!r}.") from error
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DownloadError(f"{path}: not a readable zip file: {error}. Delete it and try again.") from error


def downloads_folder() -> Path:
    """Return the folder of downloaded files."""
    return cache_folder() / "downloads"


def fetch(archive: Archive, timeout_seconds: float = 30.0) -> Path:
    """Return the path of a file in the cache, downloaded first if it is missing or damaged.

    Of two processes that want the same file, the second waits for the first.

    Args:
        archive: What to fetch.
        timeout_seconds: How long the server may stay silent.

    Raises:
        DownloadError: It could not be fetched or is not the expected file. The message says where to put it by hand.
    """
    path = downloads_folder() / archive.file

    def is_whole() -> bool:
        return path.is_file() and digest_file(path) == archive.digest

    try:
        if not is_whole():
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock"), timeout=LOCK_SECONDS):
                if not is_whole():
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
    except FinetextError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise DownloadError(f"{archive.url}: {_describe(error)}. {by_hand}{damaged}.") from error


def _describe(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"the server answers {error.code} {error.reason}"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, http.client.IncompleteRead):
        return "no download (the connection was cut off)"
    if isinstance(reason, TimeoutError):
        return "no download (the server does not answer)"
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return f"no download ({' '.join(str(text).split())[:200]})"


def _copy(response: http.client.HTTPResponse, file: BinaryIO) -> str:
    """Copy a response to a file, with a progress bar if stderr is a terminal; return its digest."""
    from rich.console import Console
    from rich.progress import wrap_file

    digest = hashlib.sha256()
    length = response.headers.get("Content-Length", "")
    expected = int(length) if length.isdecimal() else 0
    with wrap_file(
        response,
        expected,
        description="downloading",
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as body:
        while chunk := body.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
    if file.tell() < expected:
        raise http.client.IncompleteRead(b"", expected - file.tell())
    return digest.hexdigest()
