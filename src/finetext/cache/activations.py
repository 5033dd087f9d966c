"""The activation cache: hidden states of real tokens on disk, computed once for every run that can share them.

An entry is a folder for one key: one way of turning token ids into hidden states. It holds segments, each a flat
array of rows (`N.bin`) with an index of the texts in it (`N.npz`). A segment exists when its index does; both are
written under temporary names, synced and renamed. A damaged segment is dropped, never served.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from finetext import files
from finetext.errors import FinetextError

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SEGMENT_BYTES = 1 << 30
"""A segment is closed beyond this size, so that an interruption costs no more than what one holds."""
_FORMAT = "1"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class CacheFull(Exception):
    """The features do not fit within the limit of the cache or on the disk; the message says which."""


@dataclass(frozen=True)
class Features:
    """The cached hidden states of some windows, mapped into memory.

    Attributes:
        arrays: The segments, each `(rows, H)`.
        segment: `(W,)`, the segment of each window.
        offset: `(W,)`, its first row there.
        count: `(W,)`, its rows.
    """

    arrays: Sequence[Tensor]
    segment: NDArray[np.int64]
    offset: NDArray[np.int64]
    count: NDArray[np.int64]

    def hidden(self, windows: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return the hidden states of some windows as `(W, T, H)` float32, zero behind each one's end."""
        counts = self.count[windows]
        if len(self.arrays) == 1 and counts.max() == 1:  # what a head alone reads: no loop
            return self.arrays[0][torch.from_numpy(self.offset[windows])].float().unsqueeze(1)
        width = self.arrays[0].shape[1]
        hidden = torch.zeros(len(counts), int(counts.max()), width)
        for row, (window, count) in enumerate(zip(windows, counts, strict=True)):
            start = self.offset[window]
            hidden[row, :count] = self.arrays[self.segment[window]][start : start + count]
        return hidden


@dataclass(frozen=True)
class EntrySummary:
    """What `finetext cache` shows of an entry.

    Attributes:
        name: Its folder's name.
        key: What the features are of.
        texts: Windows of text in it.
        size_bytes: Size on disk.
        used: Seconds since the epoch when it was last opened.
    """

    name: str
    key: dict[str, str]
    texts: int
    size_bytes: int
    used: float


def window_digest(ids: Sequence[int]) -> bytes:
    """Return the 16 bytes that a window of token ids is known by."""
    return hashlib.blake2b(np.asarray(ids, dtype=np.int32).tobytes(), digest_size=16).digest()


class ActivationCache:
    """All entries in a folder, kept within a limit of disk space."""

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        """Take a folder, and how much may lie there: by default a fifth of the disk that is free without it."""
        self.folder = folder
        self._limit_bytes = limit_bytes

    @property
    def limit_bytes(self) -> int:
        """The most that the cache may hold, in bytes."""
        if self._limit_bytes is not None:
            return self._limit_bytes
        place = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return (shutil.disk_usage(place).free + self.size_bytes()) // 5

    def size_bytes(self) -> int:
        """Return how much it holds."""
        return sum(_size(entry) for entry in self._entries())

    def entries(self) -> list[EntrySummary]:
        """Return the entries, most recently used first."""
        summaries = (_summary(entry) for entry in self._entries())
        return sorted(summaries, key=lambda summary: -summary.used)

    def clear(self, names: Sequence[str] | None = None) -> int:
        """Remove all entries, or those named, that no process is writing to; return the bytes freed."""
        return sum(_remove(entry) for entry in self._entries() if names is None or entry.name in names)

    @contextlib.contextmanager
    def entry(
        self, key: Mapping[str, str], width: int, dtype: str, waiting: Callable[[], None]
    ) -> Iterator["CacheEntry"]:
        """Open the entry of a key exclusively: a second process waits until the first has computed what both need.

        Args:
            key: Everything that the features depend on but the token ids.
            width: Size of a hidden state.
            dtype: bf16 or fp32.
            waiting: Called once if another process holds the entry.

        Raises:
            CacheFull: The folder cannot be written to.
        """
        key = {**key, "format": _FORMAT, "width": str(width), "dtype": dtype}
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        folder = self.folder / name
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                # Beside the folder, not in it: clearing an entry removes its folder.
                lock = FileLock(folder.with_suffix(".lock"))
                try:
                    stack.enter_context(lock.acquire(timeout=0))
                except Timeout:
                    waiting()
                    stack.enter_context(lock.acquire())
                folder.mkdir(exist_ok=True)
                if not (folder / "key.json").is_file():
                    files.write_json(folder / "key.json", key)
                (folder / "key.json").touch()
                entry = CacheEntry(self, folder, width, DTYPES[dtype])
            except (OSError, FinetextError) as error:
                raise CacheFull(f"the feature cache cannot be used: {error}") from error
            yield entry

    def make_room(self, size_bytes: int, keep: Path) -> None:
        """Remove the least recently used entries until `size_bytes` more fit.

        Raises:
            CacheFull: They do not fit even then.
        """
        limit, held = self.limit_bytes, self.size_bytes()
        if _size(keep) + size_bytes > limit:
            raise CacheFull(
                f"{size_bytes / 1e9:.2f} GB of features do not fit into the cache's limit of {limit / 1e9:.2f} GB"
            )
        for summary in reversed(self.entries()):
            if held + size_bytes <= limit:
                return
            if summary.name != keep.name:
                held -= _remove(self.folder / summary.name)
        if held + size_bytes > limit:
            raise CacheFull("the rest of the cache is in use by other processes, and its limit is reached")

    def _entries(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if (path / "key.json").is_file()]


class CacheEntry:
    """The features of one key; open in one process at a time."""

    def __init__(self, cache: ActivationCache, folder: Path, width: int, dtype: torch.dtype) -> None:
        self._cache, self._folder, self._width, self._dtype = cache, folder, width, dtype
        self._arrays: list[Tensor] = []
        self._where: dict[bytes, tuple[int, int, int]] = {}
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        for index in sorted(folder.glob("*.npz")):
            self._open(index)

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """Return the first place of each digest that is missing."""
        first: dict[bytes, int] = {}
        for place, digest in enumerate(digests):
            first.setdefault(digest, place)
        return [place for digest, place in first.items() if digest not in self._where]

    def features(self, digests: Sequence[bytes]) -> Features:
        """Return the features of windows, all of which must be cached."""
        places = np.array([self._where[digest] for digest in digests], dtype=np.int64).reshape(-1, 3)
        return Features(tuple(self._arrays), places[:, 0], places[:, 1], places[:, 2])

    def writing(self, rows: int) -> "SegmentWriter":
        """Return a writer for `rows` more rows, after making room for them.

        Raises:
            CacheFull: They do not fit.
        """
        self._cache.make_room(rows * self._width * self._dtype.itemsize, self._folder)
        return SegmentWriter(self._folder, self._dtype, self._open)

    def _open(self, index: Path) -> None:
        """Take a segment in if it is whole, remove it otherwise."""
        data = index.with_suffix(".bin")
        try:
            with index.open("rb") as file, np.load(file, allow_pickle=False) as content:
                digests, counts, digest = content["digests"], content["counts"], str(content["sha256"])
            whole = files.digest_file(data) == digest and len(digests) == len(counts)
        except _UNREADABLE:
            whole = False
        if not whole:
            index.unlink(missing_ok=True)
            data.unlink(missing_ok=True)
            return
        offsets = np.cumsum(counts) - counts
        number = len(self._arrays)
        # Mapped as integers, for NumPy has no bfloat16, and copy-on-write, for torch wants it writable.
        mapped = np.memmap(data, dtype=f"i{self._dtype.itemsize}", mode="c").reshape(-1, self._width)
        self._arrays.append(torch.from_numpy(mapped).view(self._dtype))
        for digest_bytes, offset, count in zip(digests, offsets, counts, strict=True):
            self._where[digest_bytes.tobytes()] = (number, int(offset), int(count))


class SegmentWriter:
    """Writes rows to an entry; what is complete when the block ends, for whatever reason, is kept."""

    def __init__(self, folder: Path, dtype: torch.dtype, opened: Callable[[Path], None]) -> None:
        self._folder, self._dtype, self._opened = folder, dtype, opened
        self._file: BinaryIO | None = None
        self._start()

    def _start(self) -> None:
        self._digests: list[bytes] = []
        self._counts: list[int] = []
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            if self._file is not None:
                self._file.close()
            for leftover in self._folder.glob("*.tmp"):
                leftover.unlink(missing_ok=True)
            return
        self._close()

    def add(self, digest: bytes, rows: Tensor) -> None:
        """Append the hidden states `(rows, H)` of a window.

        Raises:
            OSError: The disk is full or failing.
        """
        if self._file is None:
            self._file = (self._folder / f"{os.getpid()}.tmp").open("wb")
        content = rows.to(self._dtype).contiguous().view(torch.uint8).numpy().tobytes()
        self._file.write(content)
        self._hash.update(content)
        self._digests.append(digest)
        self._counts.append(len(rows))
        if self._file.tell() >= SEGMENT_BYTES:
            self._close()

    def _close(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        temporary = Path(self._file.name)
        self._file.close()
        self._file = None
        number = time.time_ns()
        data, index = self._folder / f"{number}.bin", self._folder / f"{number}.npz"
        temporary.rename(data)
        with files.writing(index) as file:
            np.savez(
                file,
                digests=np.frombuffer(b"".join(self._digests), dtype=np.uint8).reshape(-1, 16),
                counts=np.array(self._counts, dtype=np.int64),
                sha256=np.array(self._hash.hexdigest()),
            )
        self._start()
        self._opened(index)


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.glob("*") if path.is_file())


def _summary(entry: Path) -> EntrySummary:
    texts = 0
    for index in entry.glob("*.npz"):
        with contextlib.suppress(*_UNREADABLE), index.open("rb") as file:
            texts += len(np.load(file, allow_pickle=False)["counts"])
    try:
        key: dict[str, Any] = json.loads((entry / "key.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        key = {}
    return EntrySummary(entry.name, key, texts, _size(entry), (entry / "key.json").stat().st_mtime)


def _remove(entry: Path) -> int:
    lock = FileLock(entry.with_suffix(".lock"))
    try:
        with lock.acquire(timeout=0):
            size = _size(entry)
            # Whoever has mapped a segment keeps it: the system frees it when the last one lets go.
            shutil.rmtree(entry, ignore_errors=True)
            return 0 if entry.exists() else size
    except Timeout:
        return 0
