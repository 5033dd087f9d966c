"""The two streams: data on stdout, prose on stderr."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

SYNTHETIC = "Synthetic data: these metrics say nothing about real messages."


def prose() -> "Console":
    """Return a console on stderr, for messages."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def data() -> "Console":
    """Return a console on stdout, for results."""
    from rich.console import Console

    # Tables keep their columns in a file or a pipe.
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)


def say(*lines: str) -> None:
    """Print lines to stderr."""
    for line in lines:
        prose().print(line, markup=False)


def note(text: str) -> None:
    """Print a notice to stderr."""
    say(f"note: {text}")


def write(*lines: str) -> None:
    """Print lines of a result to stdout."""
    for line in lines:
        data().print(line, markup=False, soft_wrap=True)


def warn_of_synthetic(synthetic: bool) -> None:
    """Say with a result that its texts were written for finetext."""
    if synthetic:
        write(SYNTHETIC)


def write_json(value: object) -> None:
    """Print a value to stdout as JSON."""
    import json

    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
