"""A run's folder: creating and locking it, and opening a finished one."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from finetext import files
from finetext.errors import RunError, UsageError
from finetext.evaluation import RunMetrics
from finetext.runs import RunFolder
from finetext.training.config import TrainConfig
from finetext.training.config_file import read_config, write_config

if TYPE_CHECKING:
    from finetext.inference import Classifier


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Its files.
        config: Every option as resolved.
        metrics: The content of `metrics.json`.
    """

    folder: RunFolder
    config: TrainConfig
    metrics: RunMetrics

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open the folder of a finished run.

        Raises:
            RunError: There is no finished run.
        """
        folder = RunFolder(Path(path))
        if not folder.finished:
            remedy = f" Resume with: finetext train --resume {path}" if folder.config.is_file() else ""
            raise RunError(f"{path}: is not the folder of a finished run.{remedy}")
        return cls(folder, read_config(folder.config), RunMetrics.read(folder.metrics))

    def classifier(self) -> "Classifier":
        """Load the trained classifier."""
        from finetext.inference import load

        return load(self.folder.model)


def refuse_taken(folder: RunFolder) -> None:
    """Raise UsageError if something exists already where the run should go."""
    path = folder.path
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise UsageError(f"{path}: is a file. Choose another --output.")
    if folder.config.is_file() and not folder.finished:
        raise UsageError(
            f"{path}: holds an unfinished run. Resume it with `finetext train --resume {path}`, "
            "or choose another --output."
        )
    if any(path.iterdir()):
        raise UsageError(f"{path}: is not empty, and nothing is overwritten. Choose another --output.")


def create_folder(folder: RunFolder, config: TrainConfig, **documents: Any) -> None:
    """Create a folder with its configuration in one move, or not at all.

    Args:
        folder: The folder.
        config: Its configuration.
        **documents: Further JSON files, by their names without `.json`.

    Raises:
        UsageError: The folder has appeared in the meantime, or cannot be written.
        RunError: The disk is full.
    """
    path = folder.path
    staging = RunFolder(path.with_name(f".{path.name}.{os.getpid()}.tmp"))
    try:
        staging.path.mkdir(parents=True)
        write_config(config, staging.config)
        for name, document in documents.items():
            files.write_json(staging.path / f"{name}.json", document)
        refuse_taken(folder)
        staging.path.rename(path)
    except OSError as error:
        raise files.explain_os_error(error, path) from error
    finally:
        shutil.rmtree(staging.path, ignore_errors=True)


@contextlib.contextmanager
def holding(folder: RunFolder) -> Iterator[None]:
    """Hold the lock of a run folder during the block; the system frees it if the process dies.

    Raises:
        RunError: Another process holds it.
    """
    try:
        lock = FileLock(folder.lock).acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{folder.path}: another process is training in this folder. Wait for it to finish, or stop it."
        ) from None
    except OSError as error:
        raise files.explain_os_error(error, folder.path) from error
    with lock:
        yield
