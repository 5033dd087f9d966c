"""The models that are served, and a request's way through them."""

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.engine import usable_threads
from finetext.errors import ModelError
from finetext.inference import Classifier, load
from finetext.serving import logs
from finetext.serving.batcher import Batcher, Closed, Job, ModelFailed, QueueFull, TooLong
from finetext.serving.errors import Refusal, internal_error, shutting_down
from finetext.serving.model_info import read_about
from finetext.serving.prometheus import Metrics
from finetext.serving.settings import ServeConfig

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

COLLECT_AFTER = 20_000
"""Objects more than before, after which garbage is looked for: with Python's 700 a queue of some hundred requests was
gone through so often that it took a sixth of the event loop's time."""


class ClientGone(Exception):
    """The client hung up; nobody waits for an answer."""


class Service:
    """The served models by name, and whether the server takes work.

    Attributes:
        config: The options.
        metrics: What Prometheus reads.
        draining: The signal to stop has come.
        in_flight: Requests for a model in work.
        abandoned: Requests that the end of the server cut off.
        loading: Threads that load a model.
        about: The loaded models' cards and test figures, by name.
    """

    def __init__(self, folders: Mapping[str, Path], config: ServeConfig) -> None:
        """Take the models' names and folders, the default one first; `load` loads them."""
        self.config = config
        self.metrics = Metrics()
        self.draining = False
        self.in_flight = 0
        self.abandoned = 0
        self.loading = 0
        self.about: dict[str, dict[str, Any]] = {}
        self._folders = dict(folders)
        self._threads = 1
        self._batchers: dict[str, Batcher] = {}
        self._retired: list[threading.Thread] = []  # not the batchers: they hold the old models
        self.metrics.in_flight.set_function(lambda: self.in_flight)
        for name in self._folders:
            self.metrics.watch_queue(name, lambda name=name: self._waiting(name))  # type: ignore[misc]

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in work as may be."""
        return self.in_flight >= self.config.max_requests

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, the default one first."""
        return tuple(self._folders)

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and warm, and work is taken."""
        loaded = len(self._batchers) == len(self._folders)
        return loaded and not self.draining and all(own.running for own in self._batchers.values())

    @property
    def classifiers(self) -> dict[str, Classifier]:
        """The loaded models by name."""
        return {name: own.classifier for name, own in self._batchers.items()}

    async def load(self) -> None:
        """Load every model, warm it up, and let it take the place of the one that has its name.

        Requests go on meanwhile; those that the old model took are answered by it.

        Raises:
            FinetextError: A model cannot be loaded; then all stay as they were.
        """
        began = time.monotonic()
        gc.unfreeze()
        # Asked here, since a thread that starts later has the number that a lane set last.
        self._threads = usable_threads()
        fresh: dict[str, Batcher] = {}
        try:
            for name, folder in self._folders.items():
                fresh[name] = await self._start_aside(name, folder)
        except BaseException:
            self._retire(fresh)
            gc.freeze()
            raise
        self.about = {name: read_about(folder) for name, folder in self._folders.items()}
        old, self._batchers = self._batchers, fresh
        self._retire(old)
        logs.event("models loaded", models=list(fresh), seconds=round(time.monotonic() - began, 3))
        await self._freeze()

    async def _freeze(self) -> None:
        """Take all that is loaded out of the garbage collector's passes, which would stop all requests for 0.3 s.

        A model that was replaced must be gone by then, or its cycles would stay until the next reload.
        """
        while any(thread.is_alive() for thread in self._retired):
            await asyncio.sleep(0.05)
        self._retired.clear()
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)

    def _start_aside(self, name: str, folder: Path) -> "asyncio.Future[Batcher]":
        # A thread of its own, since asyncio's end waits for those of its pool, however long they load.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Batcher] = loop.create_future()

        def finish(batcher: Batcher | None, error: BaseException | None) -> None:
            self.loading -= 1
            if future.cancelled():
                return
            if batcher is not None:
                future.set_result(batcher)
            elif error is not None:
                future.set_exception(error)

        def work() -> None:
            try:
                outcome: tuple[Batcher | None, BaseException | None] = self._start(name, folder), None
            except BaseException as error:
                outcome = None, error
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server ends
                loop.call_soon_threadsafe(finish, *outcome)

        self.loading += 1
        threading.Thread(target=work, name="load", daemon=True).start()
        return future

    def _start(self, name: str, folder: Path) -> Batcher:
        config = self.config
        classifier = load(folder, device=config.device, precision=config.precision, in_memory=True)
        batcher = Batcher(
            classifier,
            max_tokens=self.config.max_tokens,
            max_wait=self.config.max_wait_ms / 1000,
            max_queue=self.config.max_queue,
            observe=self.metrics.batches_of(name),
            threads=self._threads,
        )
        while not batcher.warm.wait(0.05):
            if not batcher.running and not batcher.warm.is_set():
                raise ModelError(f"{folder}: fails on its first texts. The log says where.")
        return batcher

    def _retire(self, batchers: Mapping[str, Batcher]) -> None:
        for batcher in batchers.values():
            batcher.close()
        threads = [*self._retired, *(thread for own in batchers.values() for thread in own.threads)]
        self._retired = [own for own in threads if own.is_alive()]

    def _waiting(self, name: str) -> int:
        return self._batchers[name].waiting if name in self._batchers else 0

    def find(self, name: str | None) -> tuple[str, Batcher]:
        """Return the model that a request names, or the default one.

        Raises:
            Refusal: There is none of that name, or it is not loaded yet.
        """
        chosen = self.names[0] if name is None else name
        if chosen not in self._folders:
            raise Refusal(422, f"No such model. There are: {', '.join(self.names)}.")
        if chosen not in self._batchers:
            raise Refusal(503, "The models are being loaded.", headers={"Retry-After": "5"})
        return chosen, self._batchers[chosen]

    async def run(
        self,
        batcher: Batcher,
        texts: Sequence[str],
        deadline: float,
        receive: Receive,
        *,
        whole: bool = False,
    ) -> NDArray[np.float32]:
        """Return the logits of a request's texts, `(N, C)`.

        Args:
            batcher: The model's, from `find`.
            texts: The texts.
            deadline: The event loop's time at which the request is given up.
            receive: Tells when the client hangs up.
            whole: Refuse a text that the model would have to cut.

        Raises:
            Refusal: The queue is full, time is up, a text is too long for `whole`, or the model failed.
            ClientGone: The client hung up.
        """
        if not texts:
            return np.zeros((0, len(batcher.classifier.class_names)), dtype=np.float32)
        try:
            job = batcher.submit(texts, whole=whole)
        except QueueFull as full:
            raise Refusal(
                429,
                "The queue is full. Try again later.",
                ("max_queue", self.config.max_queue),
                {"Retry-After": str(full.retry_seconds)},
            ) from None
        except Closed:
            raise shutting_down() from None
        hung_up = asyncio.ensure_future(_hang_up(receive))
        try:
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            events: set[asyncio.Future[Any]] = {job.future, hung_up}
            await asyncio.wait(events, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            return self._outcome(job, hung_up.done(), batcher)
        finally:
            hung_up.cancel()
            if not job.future.done():
                batcher.drop(job)
                job.future.cancel()

    def _outcome(self, job: Job, gone: bool, batcher: Batcher) -> NDArray[np.float32]:
        if not job.future.done():
            if gone:
                raise ClientGone
            limit = self.config.timeout_seconds
            raise Refusal(504, f"The answer took longer than {limit:g} s.", ("timeout_seconds", limit))
        try:
            return job.future.result()
        except TooLong as error:
            limit = batcher.classifier.model.settings.max_length
            raise Refusal(
                422,
                f"A text has {error.tokens} tokens; the model reads {limit}. Set truncate to let it be cut.",
                ("max_length", limit),
            ) from None
        except ModelFailed:
            raise internal_error() from None

    def close(self, seconds: float) -> bool:
        """End the models' threads, and tell whether they all have ended."""
        gc.unfreeze()
        self._retire(self._batchers)
        until = time.monotonic() + seconds
        for thread in self._retired:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._retired)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
