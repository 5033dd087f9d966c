"""Requests of many clients merged into batches that run through a model, on a CPU two at a time.

Each lane is a thread that takes a text from each waiting request in turn, so that a small request never waits for
the whole of a large one, and no more than its share of all texts, so that it leaves some to the other lane. A
request that finds the model idle runs at once; after a batch that several requests shared, the lane waits for as
many again, until none has come for a few milliseconds, and no longer than the batch took.
"""

import asyncio
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.engine import default_token_budget, use_threads
from finetext.inference import Classifier
from finetext.serving import logs
from finetext.serving.token_estimate import TokenGuess

WARM_TEXTS = ("a", "warm up the model " * 8, "and its arithmetic for long texts too " * 40)
FILL = 0.9
"""Share of its budget that a batch is filled to by guess: what goes over by real tokens is a small batch of its own,
which costs more than its share."""

LEAST_TEXTS = 8
"""A batch is not made smaller than this to leave texts to the other lane."""

ANSWERS_AT_ONCE = 8
"""Requests of a batch whose answers are written before the event loop looks at its sockets again."""


SWITCH_SECONDS = {True: 2e-5, False: 5e-3}
"""After which a thread that waits for Python gets it, where lanes share the cores and where one has them all. Between
two products a lane needs Python for microseconds; with 5 ms it waits for the event loop to answer all that has come,
and a core is idle. A lane that is alone lets the event loop end its turn: it would take a core from it later."""


class QueueFull(Exception):
    """More texts wait than may."""

    def __init__(self, retry_seconds: int) -> None:
        super().__init__()
        self.retry_seconds = retry_seconds


class Closed(Exception):
    """The batcher takes no more work."""


class ModelFailed(Exception):
    """The model failed on a text; the log says how."""


class TooLong(Exception):
    """A text has more tokens than the model reads, and must not be cut."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens


@dataclass(eq=False)
class Job:
    """The texts of one request.

    Attributes:
        texts: At least one.
        whole: Refuse a text that the model would have to cut.
        future: The logits `(N, C)`, set on the event loop.
    """

    texts: Sequence[str]
    whole: bool
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[NDArray[np.float32]]"
    rows: list[NDArray[np.float32] | None] = field(default_factory=list)
    taken: int = 0
    answered: int = 0
    error: Exception | None = None


Taken = list[tuple[Job, int]]
"""Texts of a batch: each with its job and its place there."""


@dataclass(eq=False)
class Lane:
    """One of the threads that run batches.

    Attributes:
        threads: Cores that it may use beside the others.
        wake: There is work for it, or there will be no more.
        running: Texts of its batch; 0 while it waits.
        requests: Whose they are; those of its last batch while it waits.
        company: Requests that are expected after that.
        ended: When it ended.
        patience: Seconds to wait for them.
        gathering: It does.
    """

    threads: int
    wake: threading.Condition
    running: int = 0
    requests: int = 1
    company: int = 1
    ended: float = 0.0
    patience: float = 0.0
    gathering: bool = False

    @property
    def expects(self) -> bool:
        """Whether it waits for the requests that may follow those of its last batch."""
        return not self.running and self.company > 1 and time.monotonic() < self.ended + self.patience


class Batcher:
    """Owns a model's threads and its queue."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_tokens: int | None,
        max_wait: float,
        max_queue: int,
        observe: Callable[[int, int], None],
        threads: int = 1,
    ) -> None:
        """Start the threads.

        Args:
            classifier: The model.
            max_tokens: Budget of a batch, None for what suits the device.
            max_wait: Seconds to wait for the next of the requests that may be expected.
            max_queue: Texts that may wait.
            observe: Called in a lane with the texts and tokens of each batch.
            threads: Cores that it may use.
        """
        self.classifier = classifier
        self.warm = threading.Event()
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._observe = observe
        self._lock = threading.Lock()
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._closing = False
        self._arrived = 0.0
        self._text_seconds = 0.0
        self._threads = threads
        self._lanes = [
            Lane(own, threading.Condition(self._lock)) for own in classifier.model.split_threads(threads)
        ]
        self._max_tokens = max_tokens or default_token_budget(classifier.model.device)
        settings = classifier.model.settings
        self._guess = TokenGuess(None if settings.long_texts == "windows" else settings.max_length)
        self._cold = len(self._lanes)
        self.threads = [
            threading.Thread(target=self._work, args=(lane,), name="model", daemon=True)
            for lane in self._lanes
        ]
        for thread in self.threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return self._waiting

    @property
    def running(self) -> bool:
        """Whether the threads are there."""
        return all(thread.is_alive() for thread in self.threads)

    def submit(self, texts: Sequence[str], *, whole: bool = False) -> Job:
        """Put a request's texts into the queue; called on the event loop.

        Raises:
            QueueFull: They would not fit.
            Closed: No more work is taken.
        """
        loop = asyncio.get_running_loop()
        job = Job(texts, whole, loop, loop.create_future(), [None] * len(texts))
        with self._lock:
            if self._closing:
                raise Closed
            if self._waiting and self._waiting + len(texts) > self._max_queue:
                raise QueueFull(max(1, math.ceil(self._waiting * self._text_seconds)))
            self._jobs.append(job)
            self._waiting += len(texts)
            self._arrived = time.monotonic()
            self._wake()
        return job

    def _wake(self) -> None:
        """Wake the lane that the first waiting request is for: one that expects some, else one that is idle."""
        free = [lane for lane in self._lanes if not lane.running]
        for lane in [own for own in free if own.expects] or free:
            if not lane.gathering or len(self._jobs) >= lane.company:  # else it wakes by itself in time
                lane.wake.notify()
            return

    def drop(self, job: Job) -> None:
        """Take back what has not been batched of a request that nobody waits for any more."""
        with self._lock:
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting -= len(job.texts) - job.taken

    def close(self) -> None:
        """Take no more work; the threads end when the queue is empty."""
        with self._lock:
            self._closing = True
            for lane in self._lanes:
                lane.wake.notify()

    def _work(self, lane: Lane) -> None:
        use_threads(lane.threads)
        try:
            for text in WARM_TEXTS:
                self.classifier.logits([text], max_tokens=self._max_tokens)
            # As much as a batch may hold, so that its memory is there before the first request.
            count = max(1, self._max_tokens // self._guess(WARM_TEXTS[-1]))
            self.classifier.logits([WARM_TEXTS[-1]] * count, max_tokens=self._max_tokens)
        except BaseException as error:  # also a panic of a tokenizer, which is no Exception
            logs.failure("warm-up failed", error)
            return
        with self._lock:
            self._cold -= 1
            if not self._cold:
                self.warm.set()
        while (taken := self._take(lane)) is not None:
            began = time.monotonic()
            finished = self._answer(taken)
            seconds = time.monotonic() - began
            with self._lock:
                lane.ended = time.monotonic()
                lane.patience = max(self._max_wait, seconds)
                lane.running = 0
                lane.company = self._company_after(lane)
                per_text = seconds / len(taken) / len(self._lanes)
                self._text_seconds += 0.2 * (per_text - self._text_seconds)
            self._deliver(finished)

    def _take(self, lane: Lane) -> Taken | None:
        with self._lock:
            while True:
                while not self._jobs:
                    if self._closing:
                        return None
                    lane.wake.wait()
                self._wait_for_company(lane)
                if self._jobs:
                    return self._fill(lane)

    def _company_after(self, lane: Lane) -> int:
        """Return how many of the requests that are about, those just answered too, the lane's next batch may be for."""
        others = [own for own in self._lanes if own is not lane]
        if lane.requests == 1 or not others:
            return lane.requests
        about = lane.requests + len(self._jobs) + sum(own.requests for own in others if own.running)
        return -(-about // len(self._lanes))

    def _wait_for_company(self, lane: Lane) -> None:
        while len(self._jobs) < lane.company and not self._closing:
            until = min(max(lane.ended, self._arrived) + self._max_wait, lane.ended + lane.patience)
            left = until - time.monotonic()
            if left <= 0:
                return
            lane.gathering = True
            lane.wake.wait(left)
            lane.gathering = False

    def _fill(self, lane: Lane) -> Taken:
        taken: Taken = []
        tokens = 0
        texts = self._waiting + sum(own.running for own in self._lanes)
        share = max(LEAST_TEXTS, -(-texts // len(self._lanes)))
        while self._jobs and len(taken) < share:
            job = self._jobs[0]
            tokens += self._guess(job.texts[job.taken])
            if taken and tokens > FILL * self._max_tokens:
                break
            self._jobs.popleft()
            taken.append((job, job.taken))
            job.taken += 1
            if job.taken < len(job.texts):
                self._jobs.append(job)
        self._waiting -= len(taken)
        lane.running = len(taken)
        lane.requests = len({id(job) for job, _ in taken})
        others = [own for own in self._lanes if own is not lane]
        shared = bool(self._jobs) or any(own.running or own.expects for own in others)
        use_threads(lane.threads if shared else self._threads)
        sys.setswitchinterval(SWITCH_SECONDS[shared])
        if self._jobs:
            self._wake()
        return taken

    def _answer(self, taken: Taken) -> list[Job]:
        """Run the texts and return the jobs that have all their answers, or failed."""
        try:
            rows: Sequence[Any] = self._run(taken)
        except BaseException as error:  # also a panic of a tokenizer, which is no Exception
            if len(taken) > 1:  # one text's fault must not be its neighbours'
                return [job for one in taken for job in self._answer([one])]
            logs.failure("model failed", error)
            rows = [ModelFailed()]
        finished = []
        with self._lock:  # a job's texts may run in several lanes
            for (job, place), row in zip(taken, rows, strict=True):
                job.answered += 1
                if isinstance(row, Exception):
                    job.error = row
                else:
                    job.rows[place] = row
                if job.answered == len(job.texts):
                    finished.append(job)
        return finished

    def _run(self, taken: Taken) -> list[NDArray[np.float32] | TooLong]:
        model = self.classifier.model
        texts = [job.texts[place] for job, place in taken]
        rows: list[NDArray[np.float32] | TooLong | None] = [None] * len(taken)
        whole = [n for n, (job, _) in enumerate(taken) if job.whole]
        if whole and model.settings.long_texts != "windows":
            counts = model.token_counts([texts[n] for n in whole])
            for n, count in zip(whole, counts, strict=True):
                if count > model.settings.max_length:
                    rows[n] = TooLong(count)
        kept = [n for n, row in enumerate(rows) if row is None]
        if kept:
            texts = [texts[n] for n in kept]
            encoded = model.encode(texts)
            counts = [sum(map(len, windows)) for windows in encoded]
            self._guess.learn(texts, counts)
            self._observe(len(kept), sum(counts))
            logits = self.classifier.logits(encoded, max_tokens=self._max_tokens)
            for n, row in zip(kept, logits, strict=True):
                rows[n] = row
        return rows  # type: ignore[return-value]

    def _deliver(self, finished: list[Job]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in finished:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, jobs in by_loop.items():
            try:
                loop.call_soon_threadsafe(_finish, loop, jobs)
            except RuntimeError:  # the loop is closed: nobody waits any more
                continue


def _finish(loop: asyncio.AbstractEventLoop, jobs: list[Job]) -> None:
    for job in jobs[:ANSWERS_AT_ONCE]:
        if job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(np.stack([row for row in job.rows if row is not None]))
    if len(jobs) > ANSWERS_AT_ONCE:
        loop.call_soon(_finish, loop, jobs[ANSWERS_AT_ONCE:])
