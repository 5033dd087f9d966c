"""Dynamic batching: texts of concurrent requests are merged into batches that a model's workers run.

On a CPU two workers share the cores. Each takes one text from every waiting request in turn, so that a small request
never waits for the whole of a large one, and no more than its share of all texts, so that some are left for the other
worker. A request that finds the model idle runs at once; after a batch that several requests shared, the worker waits
for as many again, until none has arrived for a few milliseconds, and no longer than the batch took.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetext.engine import use_threads
from finetext.inference import Classifier
from finetext.serving import logs
from finetext.serving.batch_runner import BatchRunner, Outcome
from finetext.serving.errors import ApiError, shutting_down
from finetext.serving.settings import ServeConfig

FILL = 0.9
"""Share of its budget to which a batch is filled by estimate: tokens over the budget become a small batch of their
own, which costs more than its share."""

MIN_TEXTS = 8
"""A batch is not made smaller than this to leave texts for the other worker."""

ANSWERS_PER_TURN = 8
"""Requests of a batch that are answered before the event loop looks at its sockets again."""


@dataclass(eq=False)
class PendingRequest:
    """The texts of one request.

    Attributes:
        texts: At least one.
        whole: Refuse a text that the model would truncate.
        future: The logits `(N, C)`, set on the event loop.
        outcomes: Of each text, None until there is one.
        taken: Texts that have been put into a batch.
        answered: Texts that have an outcome.
    """

    texts: Sequence[str]
    whole: bool
    future: "asyncio.Future[NDArray[np.float32]]"
    outcomes: list[Outcome | None]
    taken: int = 0
    answered: int = 0

    def resolve(self) -> None:
        """Set the future; called on the event loop."""
        if self.future.done():
            return
        error = next((outcome for outcome in self.outcomes if isinstance(outcome, ApiError)), None)
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(np.stack(self.outcomes))  # type: ignore[arg-type]


Batch = list[tuple[PendingRequest, int]]
"""Texts that run together: each as its request and its index there."""


@dataclass(eq=False)
class Worker:
    """The state of a thread that runs batches.

    Attributes:
        threads: Cores that it may use beside the other workers.
        wake: Notified when there is work for it, or will be no more.
        running: Texts of its batch; 0 while it waits.
        requests: Requests of its batch; those of its last batch while it waits.
        expected: Requests that it expects to arrive after that.
        ended: When the batch ended.
        patience: Seconds to wait for the expected requests.
        gathering: Whether it waits for them now.
    """

    threads: int
    wake: threading.Condition
    running: int = 0
    requests: int = 1
    expected: int = 1
    ended: float = 0.0
    patience: float = 0.0
    gathering: bool = False

    @property
    def is_expecting(self) -> bool:
        """Whether it waits for the requests that may follow those of its last batch."""
        return not self.running and self.expected > 1 and time.monotonic() < self.ended + self.patience


class Batcher:
    """The queue of a model and the threads that run it.

    Attributes:
        classifier: The model.
        waiting: Texts in the queue.
        warm: Set when every worker has run its first texts.
        threads: The workers' threads.
    """

    def __init__(
        self,
        classifier: Classifier,
        config: ServeConfig,
        *,
        observe: Callable[[int, int], None],
        threads: int = 1,
        on_contention: Callable[[bool], None] = lambda contended: None,
    ) -> None:
        """Start the workers.

        Args:
            classifier: The model.
            config: Has the limits of batches and of the queue.
            observe: Called in a worker with the number of texts and tokens of each batch.
            threads: Cores that the workers may use.
            on_contention: Called in a worker before each batch with whether others share the cores; must be quick.
        """
        self.classifier = classifier
        self.warm = threading.Event()
        self._runner = BatchRunner(classifier, config.max_tokens, observe)
        self._max_wait = config.max_wait_ms / 1000
        self._max_queue = config.max_queue
        self._on_contention = on_contention
        self._all_threads = threads
        self._lock = threading.Lock()
        self._queue: deque[PendingRequest] = deque()
        self.waiting = 0
        self._closing = False
        self._last_arrival = 0.0
        self._seconds_per_text = 0.0
        shares = classifier.model.split_threads(threads)
        self._workers = [Worker(share, threading.Condition(self._lock)) for share in shares]
        self._cold = len(self._workers)
        self.threads = [
            threading.Thread(target=self._work, args=(worker,), name="model", daemon=True)
            for worker in self._workers
        ]
        for thread in self.threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        """Whether all threads are alive."""
        return all(thread.is_alive() for thread in self.threads)

    def submit(self, texts: Sequence[str], *, whole: bool = False) -> PendingRequest:
        """Queue a request's texts; called on the event loop.

        Raises:
            ApiError: They do not fit, or no more work is taken.
        """
        future = asyncio.get_running_loop().create_future()
        request = PendingRequest(texts, whole, future, [None] * len(texts))
        with self._lock:
            if self._closing:
                raise shutting_down()
            if self.waiting and self.waiting + len(texts) > self._max_queue:
                seconds = max(1, math.ceil(self.waiting * self._seconds_per_text))
                raise ApiError(
                    429,
                    "The queue is full. Try again later.",
                    ("max_queue", self._max_queue),
                    {"Retry-After": str(seconds)},
                )
            self._queue.append(request)
            self.waiting += len(texts)
            self._last_arrival = time.monotonic()
            self._wake_one()
        return request

    def drop(self, request: PendingRequest) -> None:
        """Remove the texts of an abandoned request that are not in a batch yet."""
        with self._lock:
            if request in self._queue:
                self._queue.remove(request)
                self.waiting -= len(request.texts) - request.taken

    def close(self) -> None:
        """Take no more work; the threads end when the queue is empty."""
        with self._lock:
            self._closing = True
            for worker in self._workers:
                worker.wake.notify()

    def _wake_one(self) -> None:
        """Wake the worker for the first waiting request: one that expects requests, else an idle one."""
        idle = [worker for worker in self._workers if not worker.running]
        chosen = next((worker for worker in idle if worker.is_expecting), idle[0] if idle else None)
        if chosen is not None and (not chosen.gathering or len(self._queue) >= chosen.expected):
            chosen.wake.notify()  # one that gathers fewer than it expects wakes by itself in time

    def _work(self, worker: Worker) -> None:
        use_threads(worker.threads)
        try:
            self._runner.warm_up()
        except BaseException as error:  # panics of a tokenizer do not derive from Exception
            logs.failure("warm-up failed", error)
            return
        with self._lock:
            self._cold -= 1
            if not self._cold:
                self.warm.set()
        while (batch := self._next_batch(worker)) is not None:
            began = time.monotonic()
            texts = [request.texts[index] for request, index in batch]
            outcomes = self._runner.run(texts, [request.whole for request, _ in batch])
            self._finish(worker, batch, outcomes, time.monotonic() - began)

    def _next_batch(self, worker: Worker) -> Batch | None:
        with self._lock:
            while True:
                while not self._queue:
                    if self._closing:
                        return None
                    worker.wake.wait()
                self._gather(worker)
                if self._queue:
                    return self._fill(worker)

    def _gather(self, worker: Worker) -> None:
        """Wait for the expected requests, as long as they keep arriving."""
        while len(self._queue) < worker.expected and not self._closing:
            quiet = max(worker.ended, self._last_arrival) + self._max_wait
            seconds = min(quiet, worker.ended + worker.patience) - time.monotonic()
            if seconds <= 0:
                return
            worker.gathering = True
            worker.wake.wait(seconds)
            worker.gathering = False

    def _fill(self, worker: Worker) -> Batch:
        batch: Batch = []
        tokens = 0
        texts = self.waiting + sum(other.running for other in self._workers)
        share = max(MIN_TEXTS, -(-texts // len(self._workers)))
        while self._queue and len(batch) < share:
            request = self._queue[0]
            tokens += self._runner.estimate_tokens(request.texts[request.taken])
            if batch and tokens > FILL * self._runner.max_tokens:
                break
            self._queue.popleft()
            batch.append((request, request.taken))
            request.taken += 1
            if request.taken < len(request.texts):
                self._queue.append(request)
        self.waiting -= len(batch)
        worker.running = len(batch)
        worker.requests = len({id(request) for request, _ in batch})
        self._share_cores(worker)
        if self._queue:
            self._wake_one()
        return batch

    def _share_cores(self, worker: Worker) -> None:
        others = (other for other in self._workers if other is not worker)
        contended = bool(self._queue) or any(other.running or other.is_expecting for other in others)
        use_threads(worker.threads if contended else self._all_threads)
        self._on_contention(contended)

    def _finish(self, worker: Worker, batch: Batch, outcomes: list[Outcome], seconds: float) -> None:
        """Note the outcomes, what they say of the load, and answer the requests that are complete."""
        complete: dict[asyncio.AbstractEventLoop, list[PendingRequest]] = {}
        with self._lock:  # a request's texts may run in several workers
            for (request, index), outcome in zip(batch, outcomes, strict=True):
                request.outcomes[index] = outcome
                request.answered += 1
                if request.answered == len(request.texts):
                    complete.setdefault(request.future.get_loop(), []).append(request)
            worker.ended = time.monotonic()
            worker.patience = max(self._max_wait, seconds)
            worker.running = 0
            worker.expected = self._expected_after(worker)
            per_text = seconds / len(batch) / len(self._workers)
            self._seconds_per_text += 0.2 * (per_text - self._seconds_per_text)
        for loop, requests in complete.items():
            try:
                loop.call_soon_threadsafe(_resolve, loop, requests)
            except RuntimeError:  # the loop is closed, nobody waits any more
                continue

    def _expected_after(self, worker: Worker) -> int:
        """Return how many of the requests around, including those just answered, its next batch may be for."""
        if worker.requests == 1 or len(self._workers) == 1:
            return worker.requests
        others = sum(other.requests for other in self._workers if other is not worker and other.running)
        return -(-(worker.requests + len(self._queue) + others) // len(self._workers))


def _resolve(loop: asyncio.AbstractEventLoop, requests: list[PendingRequest]) -> None:
    for request in requests[:ANSWERS_PER_TURN]:
        request.resolve()
    if len(requests) > ANSWERS_PER_TURN:
        loop.call_soon(_resolve, loop, requests[ANSWERS_PER_TURN:])
