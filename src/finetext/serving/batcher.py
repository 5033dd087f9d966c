"""Requests of many clients merged into batches that one thread runs through a model.

The thread takes a text from each waiting request in turn, so that a small request never waits for the whole of
a large one. A request that finds the model idle runs at once; after a batch that several requests shared, the
thread waits for as many again, until none has come for a few milliseconds, and no longer than the batch took.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.engine import default_token_budget
from finetext.inference import Classifier
from finetext.serving import logs

WARM_TEXTS = ("a", "warm up the model " * 8, "and its arithmetic for long texts too " * 40)
CHARACTERS_PER_TOKEN = 4
"""A guess that fills the batch; its padding to the budget goes by the real tokens."""

ANSWERS_AT_ONCE = 8
"""Requests of a batch whose answers are written before the event loop looks at its sockets again."""


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


class Batcher:
    """Owns a model's thread and its queue."""

    def __init__(
        self,
        classifier: Classifier,
        *,
        max_tokens: int | None,
        max_wait: float,
        max_queue: int,
        observe: Callable[[int, int], None],
    ) -> None:
        """Start the thread.

        Args:
            classifier: The model.
            max_tokens: Budget of a batch, None for what suits the device.
            max_wait: Seconds to wait for the next of the requests that may be expected.
            max_queue: Texts that may wait.
            observe: Called in the thread with the texts and tokens of each batch.
        """
        self.classifier = classifier
        self.max_tokens = max_tokens or default_token_budget(classifier.model.device)
        self.warm = threading.Event()
        self._max_wait = max_wait
        self._max_queue = max_queue
        self._observe = observe
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._closing = False
        self._arrived = 0.0
        self._company, self._ended = 1, 0.0  # requests of the last batch, and when it ended
        self._patience = max_wait  # after it
        self._text_seconds = 0.0
        self.thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.thread.start()

    @property
    def waiting(self) -> int:
        """Texts that wait."""
        return self._waiting

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self.thread.is_alive()

    def submit(self, texts: Sequence[str], *, whole: bool = False) -> Job:
        """Put a request's texts into the queue; called on the event loop.

        Raises:
            QueueFull: They would not fit.
            Closed: No more work is taken.
        """
        loop = asyncio.get_running_loop()
        job = Job(texts, whole, loop, loop.create_future(), [None] * len(texts))
        with self._changed:
            if self._closing:
                raise Closed
            if self._waiting and self._waiting + len(texts) > self._max_queue:
                raise QueueFull(max(1, math.ceil(self._waiting * self._text_seconds)))
            self._jobs.append(job)
            self._waiting += len(texts)
            self._arrived = time.monotonic()
            self._changed.notify()
        return job

    def drop(self, job: Job) -> None:
        """Take back what has not been batched of a request that nobody waits for any more."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._waiting -= len(job.texts) - job.taken

    def close(self) -> None:
        """Take no more work; the thread ends when the queue is empty."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _work(self) -> None:
        try:
            for text in WARM_TEXTS:
                self.classifier.logits([text], max_tokens=self.max_tokens)
        except BaseException as error:  # also a panic of a tokenizer, which is no Exception
            logs.failure("warm-up failed", error)
            return
        self.warm.set()
        while (taken := self._take()) is not None:
            began = time.monotonic()
            finished = self._answer(taken)
            self._ended = time.monotonic()
            self._company = len({id(job) for job, _ in taken})
            seconds = self._ended - began
            self._patience = max(self._max_wait, seconds)
            self._text_seconds += 0.2 * (seconds / len(taken) - self._text_seconds)
            self._deliver(finished)

    def _take(self) -> Taken | None:
        with self._changed:
            while True:
                while not self._jobs:
                    if self._closing:
                        return None
                    self._changed.wait()
                self._wait_for_company()
                if self._jobs:
                    return self._fill()

    def _wait_for_company(self) -> None:
        while len(self._jobs) < self._company and not self._closing:
            until = min(max(self._ended, self._arrived) + self._max_wait, self._ended + self._patience)
            left = until - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _fill(self) -> Taken:
        taken: Taken = []
        tokens = 0
        while self._jobs:
            job = self._jobs[0]
            tokens += self._guess(job.texts[job.taken])
            if taken and tokens > self.max_tokens:
                break
            self._jobs.popleft()
            taken.append((job, job.taken))
            job.taken += 1
            if job.taken < len(job.texts):
                self._jobs.append(job)
        self._waiting -= len(taken)
        return taken

    def _guess(self, text: str) -> int:
        guess = len(text) // CHARACTERS_PER_TOKEN + 2
        settings = self.classifier.model.settings
        return guess if settings.long_texts == "windows" else min(guess, settings.max_length)

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
            encoded = model.encode([texts[n] for n in kept])
            self._observe(len(kept), sum(len(window) for text in encoded for window in text))
            logits = self.classifier.logits(encoded, max_tokens=self.max_tokens)
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
