"""The served models, and the path of a request through them."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Receive

from finetext.engine import usable_threads
from finetext.errors import ModelError
from finetext.inference import Classifier, load
from finetext.serving import logs
from finetext.serving.batcher import Batcher
from finetext.serving.errors import ApiError
from finetext.serving.http import CLIENT_DISCONNECTED
from finetext.serving.model_info import read_card_and_metrics
from finetext.serving.prometheus import Metrics
from finetext.serving.settings import ServeConfig


class Service:
    """The served models by name, and whether the server takes work.

    Attributes:
        config: The options.
        metrics: What Prometheus reads.
        draining: Whether the signal to stop has come.
        in_flight: Requests for a model in progress.
        abandoned: Requests that were cut off by the end of the server.
        loading: Threads that load a model.
        cards: The loaded models' cards and test metrics, by name.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        config: ServeConfig,
        on_contention: Callable[[bool], None] = lambda contended: None,
    ) -> None:
        """Take the models' names and folders; `load` loads them.

        Args:
            folders: The folder of each model by name, the default one first.
            config: The options.
            on_contention: Called in a model's threads before each batch with whether others share the cores.
        """
        self.config = config
        self.metrics = Metrics()
        self.draining = False
        self.in_flight = 0
        self.abandoned = 0
        self.loading = 0
        # Not asyncio's own pool, whose threads asyncio waits for at the end, however long they load.
        self._loader = ThreadPoolExecutor(1, "load")
        self.cards: dict[str, dict[str, Any]] = {}
        self._folders = dict(folders)
        self._on_contention = on_contention
        self._threads = 1
        self._batchers: dict[str, Batcher] = {}
        self._retired: list[threading.Thread] = []  # not their batchers, which hold the old models
        self.metrics.in_flight.set_function(lambda: self.in_flight)
        for name in self._folders:
            self.metrics.queue.labels(name).set_function(partial(self._waiting, name))

    @property
    def is_full(self) -> bool:
        """Whether the maximum number of requests is in progress."""
        return self.in_flight >= self.config.max_requests

    @property
    def names(self) -> tuple[str, ...]:
        """The models' names, the default one first."""
        return tuple(self._folders)

    @property
    def ready(self) -> bool:
        """Whether every model is loaded and warm, and work is taken."""
        loaded = len(self._batchers) == len(self._folders)
        return loaded and not self.draining and all(batcher.is_running for batcher in self._batchers.values())

    @property
    def is_retiring(self) -> bool:
        """Whether threads of replaced models are still running."""
        self._retired = [thread for thread in self._retired if thread.is_alive()]
        return bool(self._retired)

    @property
    def classifiers(self) -> dict[str, Classifier]:
        """The loaded models by name."""
        return {name: batcher.classifier for name, batcher in self._batchers.items()}

    async def load(self) -> None:
        """Load every model, warm it up, and replace the one that has its name.

        Requests go on meanwhile; those that the old model has taken are answered by it.

        Raises:
            FinetextError: A model cannot be loaded; then all stay as they were.
        """
        began, loop = time.monotonic(), asyncio.get_running_loop()
        # Asked here: a thread that starts later inherits the number that a worker set last.
        self._threads = usable_threads()
        loaded: dict[str, Batcher] = {}
        try:
            for name, folder in self._folders.items():
                self.loading += 1
                loaded[name] = await loop.run_in_executor(self._loader, self._start, name, folder)
        except BaseException:
            self._retire(loaded)
            raise
        self.cards = {name: read_card_and_metrics(folder) for name, folder in self._folders.items()}
        replaced, self._batchers = self._batchers, loaded
        self._retire(replaced)
        logs.event("models loaded", models=list(loaded), seconds=round(time.monotonic() - began, 3))

    def _start(self, name: str, folder: Path) -> Batcher:
        config = self.config
        try:
            batcher = Batcher(
                load(folder, device=config.device, precision=config.precision, in_memory=True),
                config,
                observe=self.metrics.batches_of(name),
                threads=self._threads,
                on_contention=self._on_contention,
            )
            while not batcher.warm.wait(0.05):
                if not batcher.is_running and not batcher.warm.is_set():
                    raise ModelError(f"{folder}: the model fails during warm-up. The log says where.")
            return batcher
        finally:
            self.loading -= 1

    def _retire(self, batchers: Mapping[str, Batcher]) -> None:
        for batcher in batchers.values():
            batcher.close()
            self._retired += batcher.threads

    def _waiting(self, name: str) -> int:
        return self._batchers[name].waiting if name in self._batchers else 0

    def find(self, name: str | None) -> tuple[str, Batcher]:
        """Return the model that a request names, or the default one.

        Raises:
            ApiError: There is none of that name, or it is not loaded yet.
        """
        chosen = self.names[0] if name is None else name
        if chosen not in self._folders:
            raise ApiError(422, f"No such model. Available: {', '.join(self.names)}.")
        if chosen not in self._batchers:
            raise ApiError(503, "The models are being loaded.", headers={"Retry-After": "5"})
        return chosen, self._batchers[chosen]

    async def run(
        self,
        batcher: Batcher,
        texts: Sequence[str],
        request: Request,
        *,
        whole: bool = False,
    ) -> NDArray[np.float32]:
        """Return the logits of a request's texts, `(N, C)`.

        Args:
            batcher: The model's, from `find`.
            texts: The texts.
            request: Has the deadline, and tells when the client hangs up.
            whole: Refuse a text that the model would truncate.

        Raises:
            ApiError: The queue is full, time is up, a text is too long for `whole`, the model failed, or the client
                hung up.
        """
        if not texts:
            return np.zeros((0, len(batcher.classifier.class_names)), dtype=np.float32)
        pending = batcher.submit(texts, whole=whole)
        hang_up = asyncio.ensure_future(_wait_for_disconnect(request.receive))
        try:
            timeout = max(0.0, request.scope["finetext.deadline"] - asyncio.get_running_loop().time())
            events: set[asyncio.Future[Any]] = {pending.future, hang_up}
            await asyncio.wait(events, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if pending.future.done():
                return pending.future.result()
            if hang_up.done():
                raise ApiError(CLIENT_DISCONNECTED, "The client hung up.")
            limit = self.config.timeout_seconds
            raise ApiError(504, f"The answer took longer than {limit:g} s.", ("timeout_seconds", limit))
        finally:
            hang_up.cancel()
            if not pending.future.done():
                batcher.drop(pending)
                pending.future.cancel()

    def close(self, seconds: float) -> bool:
        """End the models' threads, and return whether they all have ended."""
        self._retire(self._batchers)
        deadline = time.monotonic() + seconds
        for thread in self._retired:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not self.is_retiring


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
