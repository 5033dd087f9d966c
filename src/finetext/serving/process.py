"""Settings of the whole process, for one that serves models and does nothing else.

Only `serve` uses them: `Service` and the batcher, used as a library, leave the process alone.
"""

import asyncio
import gc
import sys

from finetext.engine import prepare_cpu
from finetext.serving.service import Service

COLLECT_AFTER = 20_000
"""Allocations between garbage collections: with Python's 700 they took a sixth of the event loop's time while some
hundred requests waited."""

SWITCH_SECONDS = {True: 2e-5, False: 5e-3}
"""Python's switch interval where workers share the cores, and where one has them all. Between two matrix products a
worker needs the interpreter for microseconds; with 5 ms it would wait until the event loop has answered everything,
and leave a core idle. A worker that is alone lets the event loop finish its turn, which would take a core from it
later."""


def prepare_process() -> None:
    """Set threads, allocator and garbage collector."""
    prepare_cpu()
    gc.set_threshold(COLLECT_AFTER)


def set_switch_interval(contended: bool) -> None:
    """Set how often threads take turns, by whether others share the cores."""
    sys.setswitchinterval(SWITCH_SECONDS[contended])


async def load_and_freeze(service: Service) -> None:
    """Load the models, and exempt them from garbage collection, which would stop all requests for 0.3 s each time.

    Replaced models have to be gone by then, or their reference cycles would stay until the next reload.
    """
    gc.unfreeze()
    try:
        await service.load()
        while service.is_retiring:
            await asyncio.sleep(0.05)
        gc.collect()
    finally:
        gc.freeze()
