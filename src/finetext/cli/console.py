"""The two streams: data on stdout, prose on stderr."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def prose() -> "Console":
    """Return a console on stderr, for what a person reads."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def data() -> "Console":
    """Return a console on stdout, for results."""
    from rich.console import Console

    # Tables keep their columns when they go into a file or a pipe.
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
