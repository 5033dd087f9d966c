"""Concurrent batches on the CPU: each worker is a thread with a share of the cores and a batch of its own.

A matrix product as small as a batch of short texts hardly gains from a second core, and each one ends with the cores
waiting for one another. Two batches at a time, each on half of the cores, do not wait. Decision 0007 has the figures.
"""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 2
"""More have not been measured: the machines at hand have two cores."""
RESULTS_AHEAD = 2
"""Results that may wait to be consumed, so that no worker waits for the consumer."""
MIN_BATCH_TOKENS = 768
"""Batches are not split below this for more workers: the overhead of a forward pass would cost more than is won."""
BATCHES_PER_WORKER = 4
"""If there is enough text: so that no worker idles long while the others run their last batch."""
MIN_BATCH_MACS = 10**9
"""Multiplications from which a batch is worth a worker; below, Python, which runs one thread at a time, dominates."""
MAX_IMBALANCE = 1.1
"""How much more than its share the busiest worker may have."""
SLACK = 1.05
"""Batches of whole texts are never quite full; what is left over would be one more batch."""


def split_threads(threads: int) -> list[int]:
    """Return the threads of each worker where there are this many in all."""
    count = min(MAX_WORKERS, threads)
    return [threads // count + (place < threads % count) for place in range(count)]


def batch_budget(tokens: int, budget: int, workers: int, macs: int) -> int:
    """Return how many tokens a batch may hold, so that every worker has as many batches of like size.

    Args:
        tokens: Tokens of all texts.
        budget: The most that may be computed at a time.
        workers: How many workers there are.
        macs: Multiplications for a token.
    """
    minimum = max(MIN_BATCH_TOKENS, MIN_BATCH_MACS // max(1, macs))
    if workers < 2 or minimum > budget // workers:
        return budget
    batches = min(BATCHES_PER_WORKER, tokens // (workers * minimum))
    if not batches:
        return budget
    return min(budget // workers, math.ceil(SLACK * tokens / (workers * batches)))


def use_threads(count: int) -> None:
    """Let this thread, and those that start after it, compute with this many threads."""
    torch.get_num_threads()  # PyTorch sets a thread's number when it is first asked, over what was set before
    torch.set_num_threads(count)


def run_concurrently(
    function: Callable[[Item], Result], items: Sequence[Item], costs: Sequence[int], threads: Sequence[int]
) -> Iterator[Result]:
    """Yield `function(item)` for each item in order, computing several at a time where that is faster.

    Args:
        function: Runs in this thread's modes of gradient and autocast.
        items: Its arguments.
        costs: Multiplications of each item. If they are few, or uneven, the items run one after the other.
        threads: The threads of each worker, from `split_threads`.
    """
    if not _are_worth(costs, len(threads)):
        yield from map(function, items)
        return
    all_threads, modes = torch.get_num_threads(), _modes()
    shares, started = deque(threads), threading.Barrier(len(threads) + 1)

    def start() -> None:
        use_threads(shares.popleft())
        with contextlib.suppress(threading.BrokenBarrierError):  # the caller was interrupted
            started.wait()

    def run(item: Item) -> Result:
        with modes():
            return function(item)

    pool = ThreadPoolExecutor(len(threads), "finetext-worker", start)
    waiting: deque[Future[Result]] = deque()
    try:
        for place, item in enumerate(items):
            waiting.append(pool.submit(run, item))
            if place == len(threads) - 1:  # all threads exist now
                started.wait()
                torch.set_num_threads(all_threads)  # also for threads that start later
            if len(waiting) > len(threads) + RESULTS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        started.abort()  # for workers that an interrupted start left waiting
        torch.set_num_threads(all_threads)
        pool.shutdown(cancel_futures=True)


def _are_worth(costs: Sequence[int], workers: int) -> bool:
    """Tell whether items are large enough, and the workers end about together if each takes the next when free."""
    if not 1 < workers <= len(costs) or sum(costs) < MIN_BATCH_MACS * len(costs):
        return False
    loads = [0] * workers
    for cost in costs:
        loads[loads.index(min(loads))] += cost
    return max(loads) <= MAX_IMBALANCE * sum(loads) / workers


def _modes() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Return what gives another thread the gradient and autocast modes of this one."""
    inference, gradient = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    mixed, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    @contextlib.contextmanager
    def enter() -> Iterator[None]:
        with (
            torch.inference_mode(inference),
            torch.set_grad_enabled(gradient),
            torch.autocast("cpu", dtype=dtype, enabled=mixed),
        ):
            yield

    return enter


def is_reentrant(network: Any) -> str | None:
    """Return why two threads may not run a network at the same time, None if they may."""
    if any(getattr(module, "rope_type", None) in ("dynamic", "longrope") for module in network.modules()):
        return "its rotary tables are rewritten for long texts"
    return None
