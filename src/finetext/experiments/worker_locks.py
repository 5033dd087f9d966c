"""Lock files by which the processes of a sweep know which of them are alive."""

import contextlib
import uuid
from pathlib import Path

from filelock import FileLock, Timeout


class WorkerLocks:
    """A folder with a lock file per process, held until `release`; the system frees it when the process is killed.

    Attributes:
        token: Names this process.
    """

    def __init__(self, folder: Path) -> None:
        self.token = uuid.uuid4().hex
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._lock = FileLock(folder / self.token)
        self._lock.acquire()

    def release(self) -> None:
        """Count this process as alive no longer."""
        self._lock.release()
        with contextlib.suppress(OSError):
            (self._folder / self.token).unlink(missing_ok=True)

    def is_alive(self, token: str) -> bool:
        """Return whether a process still holds its lock, and remove the lock file if not."""
        if token == self.token:
            return True
        path = self._folder / token
        try:
            with FileLock(path, timeout=0), contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
        return False
