"""A file that grows beside its target, and what it takes to go on with it after a crash."""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetext import files
from finetext.errors import UsageError
from finetext.inference.writing import refuse_existing

Identity = dict[str, Any]
"""Input, model and options of a prediction, as JSON values: what a run that goes on must share with the one before."""


@dataclass(frozen=True)
class Done:
    """How far an output is.

    Attributes:
        rows: Rows of the input that are done.
        empty: Those without text.
        abstained: Those on which the classifier abstains.
        size: Bytes of the output that hold them.
    """

    rows: int = 0
    empty: int = 0
    abstained: int = 0
    size: int = 0


class Partial:
    """The output so far, `.NAME.partial`, and beside it the journal that says how far it is.

    What the journal says is on the disk: the output is synced before the journal is written.
    """

    def __init__(self, target: Path, identity: Identity | None, done: Done) -> None:
        self.path, self._journal = _names(target)
        self.done = done
        self._target, self._identity = target, identity
        # Unbuffered: closing it on a full disk must not try to write once more.
        self._file = self.path.open("r+b" if done.rows else "wb", buffering=0)
        self._file.truncate(done.size)
        self._file.seek(done.size)

    def append(self, content: bytes, rows: int, empty: int, abstained: int) -> None:
        """Add the rows of a window, durably."""
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())
        before = self.done
        self.done = Done(
            before.rows + rows,
            before.empty + empty,
            before.abstained + abstained,
            before.size + len(content),
        )
        if self._identity is not None:
            files.write_json(self._journal, {"identity": self._identity, "done": asdict(self.done)})

    def take_name(self) -> None:
        """Make the output the target."""
        self._file.close()
        self.path.replace(self._target)
        files.sync_folder(self._target.parent)

    def discard(self) -> None:
        """Remove the output and its journal."""
        self._file.close()
        for path in (self._journal, self.path):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; one that can be gone on with stays, any other is removed."""
        self._file.close()
        if not self.done.rows or self._identity is None:
            self.discard()


def _names(target: Path) -> tuple[Path, Path]:
    return (
        target.with_name(f".{target.name}.partial"),
        target.with_name(f".{target.name}.partial.json"),
    )


def rows_kept(target: Path) -> int:
    """Return how many rows an interrupted prediction into `target` has left to go on from."""
    found = _read_journal(target)
    return 0 if found is None else found[1].rows


def _read_journal(target: Path) -> tuple[Identity, Done] | None:
    path, journal = _names(target)
    try:
        content = json.loads(journal.read_bytes())
        done = Done(**content["done"])
        if path.stat().st_size < done.size:
            return None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not whole: then nothing can be gone on with
        return None
    return content["identity"], done


@contextlib.contextmanager
def partial_output(
    target: Path, identity: Identity | None, *, overwrite: bool, resume: bool
) -> Iterator[Partial]:
    """Open the partial output of `target`; if the block fails, what can be gone on with stays.

    Args:
        target: The file to be.
        identity: What a later run must share with this one to go on; None if none can.
        overwrite: Replace a target that is there, and leave a partial output of it aside.
        resume: Go on with the partial output, if there is one.

    Raises:
        UsageError: The target is there, the partial output is of something else, or another process is at it.
        RunError: The disk is full.
    """
    refuse_existing(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _holding(target):
            partial = Partial(target, identity, _start(target, identity, overwrite, resume))
            try:
                yield partial
            finally:
                partial.close()
    except OSError as error:
        raise files.explain_os_error(error, target) from error


def _start(target: Path, identity: Identity | None, overwrite: bool, resume: bool) -> Done:
    found = _read_journal(target)
    if resume and identity is None:
        raise UsageError("--resume needs a file: what comes from a stream cannot be read again.")
    if found is None:
        return Done()
    before, done = found
    if not resume:
        if overwrite:
            return Done()
        raise UsageError(
            f"{target}: an interrupted prediction left {done.rows:,} rows. "
            "Pass --resume to go on, or --overwrite to start again."
        )
    changed = [
        name for name in {**before, **(identity or {})} if before.get(name) != (identity or {}).get(name)
    ]
    if changed:
        raise UsageError(
            f"{target}: cannot go on, changed since it was begun: {', '.join(changed)}. "
            "Put that back, or pass --overwrite without --resume to start again."
        )
    return done


@contextlib.contextmanager
def _holding(target: Path) -> Iterator[None]:
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"{target}: another process is writing it. Wait for it, or stop it.") from None
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows removes no file that is open
            path.unlink(missing_ok=True)
        lock.release()
