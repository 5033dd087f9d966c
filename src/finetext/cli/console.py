"""The two streams: results on stdout, messages on stderr."""

import json
import sys

from rich.console import Console
from rich.table import Table


def stderr() -> Console:
    """Return a console on stderr, for messages."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def stdout() -> Console:
    """Return a console on stdout, for results."""
    # Tables keep their columns in a file or a pipe.
    width = None if sys.stdout.isatty() else 120
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def say(*lines: str) -> None:
    """Print lines to stderr."""
    for line in lines:
        stderr().print(line)


def note(text: str) -> None:
    """Print a notice to stderr."""
    say(f"note: {text}")


def write(*results: str | Table) -> None:
    """Print lines and tables of a result to stdout."""
    for result in results:
        stdout().print(result, soft_wrap=isinstance(result, str))


def warn_of_synthetic(synthetic: bool) -> None:
    """Say with a result that its texts were written for finetext."""
    if synthetic:
        write("Synthetic data: these metrics say nothing about real messages.")


def write_json(value: object) -> None:
    """Print a value to stdout as JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
