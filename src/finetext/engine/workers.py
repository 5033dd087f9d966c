"""Batches side by side on the CPU: each lane is a thread with a share of the cores and a batch of its own.

A product of a short text's size hardly gains from a second core, and each one ends with the cores waiting for
another. Two batches at a time, each on half of the cores, wait for nothing: a sixth faster in bfloat16.
"""

import contextlib
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from finetext.engine.batching import collate
from finetext.engine.cut import Forward

Item = TypeVar("Item")
Result = TypeVar("Result")

LANES = 2
"""More were not measured: the machines at hand have two cores."""
AHEAD = 2
"""Results that may wait to be taken, so that no lane waits for the one that takes them."""

LEAST_TOKENS = 768
"""A batch is not made smaller than this for the lanes' sake: calling the layers would cost more than is won."""
BATCHES = 4
"""For each lane, if the texts suffice: so that none is long idle when the others run their last one."""
LEAST_PRODUCTS = 10**9
"""Multiplications of a batch from which on it is worth a lane; below that Python, which runs one thread at a time,
takes too large a part of it."""
MOST_WAITING = 1.1
"""How much more than its share the busiest lane may have."""
SLACK = 1.05
"""Batches of whole texts are never quite full; what is left over would be one more."""


def lanes_of(threads: int) -> list[int]:
    """Return how many threads each lane has where there are so many in all."""
    count = min(LANES, threads)
    return [threads // count + (place < threads % count) for place in range(count)]


def lane_budget(tokens: int, budget: int, lanes: int, products: int) -> int:
    """Return how many tokens a batch may hold, so that every lane has as many batches of like size.

    Args:
        tokens: Those of all texts.
        budget: The most that may be under way at a time.
        lanes: How many there are.
        products: Multiplications for a token.
    """
    least = max(LEAST_TOKENS, LEAST_PRODUCTS // max(1, products))
    each = min(BATCHES, tokens // (lanes * least)) if least <= budget // lanes else 0
    return (
        budget if lanes < 2 or not each else min(budget // lanes, math.ceil(SLACK * tokens / (lanes * each)))
    )


def use_threads(count: int) -> None:
    """Let this thread, and those that start after it, compute with so many threads."""
    torch.get_num_threads()  # PyTorch sets a thread's number when it is first asked, over what was set before
    torch.set_num_threads(count)


def in_lanes(
    function: Callable[[Item], Result], items: Sequence[Item], costs: Sequence[int], lanes: Sequence[int]
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; with several lanes some are computed at the same time.

    Args:
        function: Runs in this thread's modes of gradient and autocast.
        items: What it is given.
        costs: Multiplications of each item. Without lanes if they are few, or one lane would long wait for the
            others' last.
        lanes: The threads of each lane, from `lanes_of`.
    """
    if not _are_worth(costs, len(lanes)):
        yield from map(function, items)
        return
    own_threads, modes = torch.get_num_threads(), _modes()
    shares, started = deque(lanes), threading.Barrier(len(lanes) + 1)

    def start() -> None:
        use_threads(shares.popleft())
        with contextlib.suppress(threading.BrokenBarrierError):  # the caller was interrupted
            started.wait()

    def run(item: Item) -> Result:
        with modes():
            return function(item)

    pool = ThreadPoolExecutor(len(lanes), "lane", start)
    waiting: deque[Future[Result]] = deque()
    try:
        for place, item in enumerate(items):
            waiting.append(pool.submit(run, item))
            if place == len(lanes) - 1:  # as many threads are there now
                started.wait()
                torch.set_num_threads(own_threads)  # also for threads that start later
            if len(waiting) > len(lanes) + AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        started.abort()  # for lanes that an interrupted start left waiting
        torch.set_num_threads(own_threads)
        pool.shutdown(cancel_futures=True)


def _are_worth(costs: Sequence[int], lanes: int) -> bool:
    """Tell whether items are large enough for lanes, and end about together if each takes the next when it is free."""
    if not 1 < lanes <= len(costs) or sum(costs) < LEAST_PRODUCTS * len(costs):
        return False
    loads = [0] * lanes
    for cost in costs:
        loads[loads.index(min(loads))] += cost
    return max(loads) <= MOST_WAITING * sum(loads) / lanes


def _modes() -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Return what gives another thread the modes of this one."""
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


def leaves_no_trace(network: Any, forward: Forward, token_ids: list[int], pad_id: int) -> bool:
    """Tell whether a forward pass leaves a network as it was, so that two may run at the same time.

    Args:
        network: The network, that has run before: what it makes once and keeps is made.
        forward: Runs it on a batch.
        token_ids: Some ids of ordinary tokens, for the proof.
        pad_id: Fills the batches of the proof.
    """
    # Those have tables that a long text makes anew.
    if any(getattr(module, "rope_type", None) in ("dynamic", "longrope") for module in network.modules()):
        return False
    batches = [collate([(ids,), (ids[:1],)], pad_id).to(network.device) for ids in (token_ids, token_ids[:2])]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            before = _state(network)
            for batch in batches:
                forward(batch)
            after = _state(network)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return False
    finally:
        network.train(was_training)
    return before.keys() == after.keys() and all(
        after[name][0] is value and after[name][1] == version for name, (value, version) in before.items()
    )


def _state(network: nn.Module) -> dict[tuple[str, str], tuple[Any, int]]:
    """Return what the modules hold, and how often each tensor of it was written."""
    return {
        (name, key): (value, value._version if isinstance(value, Tensor) else 0)
        for name, module in network.named_modules()
        for key, value in {**vars(module), **module._buffers, **module._parameters}.items()
    }
