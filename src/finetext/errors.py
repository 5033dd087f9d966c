"""The exceptions that finetext raises for a user's mistakes.

Each carries a message of one or two lines: what is wrong, where, and what to do. The command line prints
the message without a traceback and exits with `exit_code`. A bug is any other exception.
"""

import difflib
import importlib
from collections.abc import Iterable


class FinetextError(Exception):
    """A mistake or a failure that the user can mend."""

    exit_code = 1


class UsageError(FinetextError, ValueError):
    """An option, a configuration file or a command used wrongly."""

    exit_code = 2


class DataError(FinetextError, ValueError):
    """Data that cannot be read, or with which training makes no sense."""

    exit_code = 2


class ModelError(FinetextError, ValueError):
    """A model or bundle that is missing, damaged, refused, or of a kind that cannot be used."""


class DownloadError(FinetextError, OSError):
    """A file that could not be fetched, or whose content is not the expected one."""


class RunError(FinetextError, RuntimeError):
    """A run that cannot start, go on or be saved."""


class Interrupted(FinetextError):
    """A run stopped by SIGINT or SIGTERM after it wrote a checkpoint."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """Return an error's first line, or its kind if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def closest(word: str, known: Iterable[object]) -> str:
    """Return `" Did you mean 'x'?"` for the known word nearest to `word`, or an empty string.

    Args:
        word: What was written.
        known: An iterable of the words that would have been right.
    """
    words = [str(candidate) for candidate in known]
    near = difflib.get_close_matches(word, words, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def hub_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a network which fails raises in the Hub's client, its HTTP library's included."""
    from huggingface_hub import get_session

    library = importlib.import_module(type(get_session()).__module__.split(".")[0])
    errors = (getattr(library, name) for name in ("HTTPError", "InvalidURL") if hasattr(library, name))
    return (ConnectionError, TimeoutError, *errors)
