"""The two streams: data on stdout, prose on stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def progress_bar(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar with rate and time left on stderr while the block runs, if that is a terminal.

    Args:
        what: What is done.
        total: How many texts there are; None if that is not known.
        done: How many of them were done before.

    Yields:
        A function that advances the bar by a number of texts.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = prose()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=done, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[0].speed
            bar.update(task, rate="" if speed is None else f"{speed:,.0f}/s")

        yield advance
