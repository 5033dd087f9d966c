"""Writing files so that a crash leaves the old one or the new one, digests, and the cache folder."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from finetext.errors import RunError, UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}

_DISK_FULL = ("No space left", "os error 28", "file write failed", "iostream")
"""What a writer that wraps the system's error says when the disk is full."""


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable; does nothing where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its name, synced, when the block ends well.

    If the block raises, the temporary file is removed and whatever stood at `path` stays as it was.

    Raises:
        UsageError: The folder cannot be written to.
        RunError: The disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~umask())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def making_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder` that takes its name, synced, when the block ends well.

    Raises:
        RunError: The disk is full.
        UsageError: The folder already exists or cannot be written.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        for path in filter(Path.is_file, temporary.rglob("*")):
            path.chmod(0o666 & ~umask())  # safetensors writes for the owner alone
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except Exception as error:
        raise explain_write_error(error, folder) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def umask() -> int:
    """Return the process's mask of permissions, which temporary files do not follow by themselves."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically and durably."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write `content` to `path` as UTF-8, atomically and durably."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON with sorted keys left as given, atomically and durably."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as a CSV file, atomically and durably; None becomes an empty cell."""
    content = io.StringIO(newline="")
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(path, content.getvalue())


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        what: What it is, for the message if it is missing.

    Raises:
        UsageError: It is missing, cannot be read, or is not valid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such {what}.") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}). Give a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not valid TOML: {error}.") from error


def explain_os_error(error: OSError, path: Path) -> OSError | RunError | UsageError:
    """Turn the system errors that a user can mend into finetext's own; hand back any other unchanged."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunError(f"{path}: no space left on the disk. Free some space, or choose another folder.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UsageError(f"{path}: no permission to write there. Choose another folder.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY):
        return UsageError(f"{path}: cannot be written, a file or folder is in the way. Choose another name.")
    if error.errno in (errno.ENOENT, errno.ENAMETOOLONG, errno.EINVAL):
        return UsageError(f"{path}: cannot be created ({error.strerror}). Choose another folder.")
    return error


def explain_write_error(error: Exception, path: Path) -> Exception:
    """Like `explain_os_error`, for writers that wrap the system's error and keep only its text."""
    if isinstance(error, OSError):
        return explain_os_error(error, path)
    full = any(text in str(error) for text in _DISK_FULL)
    return explain_os_error(OSError(errno.ENOSPC, str(error)), path) if full else error


def cache_folder() -> Path:
    """Return the per-user folder for downloads and stored features; `FINETEXT_HOME` overrides it."""
    if home := os.environ.get("FINETEXT_HOME"):
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("finetext", appauthor=False))


def parse_size(text: str) -> int:
    """Return a size such as `20GB` or `500 MB` in bytes.

    Raises:
        UsageError: It is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)B?\s*", text.upper())
    if match is None:
        raise UsageError(f"{text!r} is not a size. Write it as 20GB or 500MB, for example.")
    return int(float(match[1]) * _UNITS[match[2]])
