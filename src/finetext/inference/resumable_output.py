"""An output file that grows beside its target and can be resumed after a crash."""

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
from finetext.inference.bulk import LabelledRows
from finetext.inference.writing import refuse_existing

Identity = dict[str, Any]
"""Input, model and options of a prediction as JSON values, which a resumed one must share."""


@dataclass(frozen=True)
class Tally:
    """What has been written so far.

    Attributes:
        rows: Rows of the input.
        empty: Those without text.
        abstained: Those on which the classifier abstains.
        size: Bytes of the output.
    """

    rows: int = 0
    empty: int = 0
    abstained: int = 0
    size: int = 0

    def plus(self, labelled: LabelledRows, size: int = 0) -> "Tally":
        """Return the tally after some more rows, which take up `size` bytes."""
        return Tally(
            self.rows + labelled.block.frame.height,
            self.empty + labelled.empty,
            self.abstained + labelled.abstained,
            self.size + size,
        )


class ResumableOutput:
    """The output so far, `.NAME.partial`, and beside it the journal that says how far it is.

    Each part is synced to disk before the journal counts it.
    """

    def __init__(self, target: Path, identity: Identity | None, tally: Tally) -> None:
        self.path, self._journal = _paths(target)
        self.tally = tally
        self._target, self._identity = target, identity
        # Unbuffered: closing it on a full disk must not try to write once more.
        self._file = self.path.open("r+b" if tally.rows else "wb", buffering=0)
        self._file.truncate(tally.size)
        self._file.seek(tally.size)

    def append(self, content: bytes, labelled: LabelledRows) -> None:
        """Write rows, given as the bytes of the file, durably."""
        unwritten = memoryview(content)
        while unwritten:
            unwritten = unwritten[self._file.write(unwritten) :]
        os.fsync(self._file.fileno())
        self.tally = self.tally.plus(labelled, len(content))
        if self._identity is not None:
            files.write_json(self._journal, {"identity": self._identity, "done": asdict(self.tally)})

    def commit(self) -> None:
        """Rename the output to its target."""
        self._file.close()
        self.path.replace(self._target)
        files.sync_folder(self._target.parent)

    def discard(self) -> None:
        """Remove the output and its journal."""
        self._file.close()
        for path in (self._journal, self.path):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the output; what cannot be resumed is removed."""
        self._file.close()
        if not self.tally.rows or self._identity is None:
            self.discard()


def _paths(target: Path) -> tuple[Path, Path]:
    partial = target.with_name(f".{target.name}.partial")
    return partial, partial.with_name(f"{partial.name}.json")


def resumable_rows(target: Path) -> int:
    """Return how many rows an interrupted prediction into `target` has written."""
    journal = _read_journal(target)
    return 0 if journal is None else journal[1].rows


def _read_journal(target: Path) -> tuple[Identity, Tally] | None:
    path, journal = _paths(target)
    try:
        content = json.loads(journal.read_bytes())
        tally = Tally(**content["done"])
        if path.stat().st_size < tally.size:
            return None
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: nothing can be resumed
        return None
    return content["identity"], tally


@contextlib.contextmanager
def resumable_output(
    target: Path, identity: Identity | None, *, overwrite: bool, resume: bool
) -> Iterator[ResumableOutput]:
    """Open the output of a prediction; if the block fails, resumable output is kept.

    Args:
        target: The file to write.
        identity: What a resumed prediction must share with this one; None if it cannot be resumed.
        overwrite: Replace a target that exists, and discard an interrupted output.
        resume: Continue an interrupted output, if there is one.

    Raises:
        UsageError: The target exists, the interrupted output is of something else, or another process writes it.
        RunError: The disk is full.
    """
    refuse_existing(target, overwrite)
    lock = target.with_name(f".{target.name}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock, timeout=0):
            try:
                tally = _starting_point(target, identity, overwrite, resume)
                with contextlib.closing(ResumableOutput(target, identity, tally)) as output:
                    yield output
            finally:
                with contextlib.suppress(PermissionError):  # Windows cannot remove an open file
                    lock.unlink(missing_ok=True)
    except Timeout:
        raise UsageError(f"{target}: another process is writing it. Wait for it, or stop it.") from None
    except OSError as error:
        raise files.explain_os_error(error, target) from error


def _starting_point(target: Path, identity: Identity | None, overwrite: bool, resume: bool) -> Tally:
    journal = _read_journal(target)
    if not resume:
        if journal is None or overwrite:
            return Tally()
        raise UsageError(
            f"{target}: an interrupted prediction left {journal[1].rows:,} rows. "
            "Pass --resume to continue it, or --overwrite to start over."
        )
    if identity is None:
        raise UsageError("--resume needs a file, which can be read again, and the folder of a model.")
    if journal is None:
        return Tally()
    before, tally = journal
    changed = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
    if changed:
        raise UsageError(
            f"{target}: cannot resume, changed since the start: {', '.join(changed)}. "
            "Restore that, or pass --overwrite without --resume to start over."
        )
    return tally
