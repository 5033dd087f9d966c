"""The server process: listening, loading, reloading on a signal, and shutting down."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import uvicorn
from uvicorn.loops.auto import auto_loop_factory

from finetext.errors import FinetextError, RunError
from finetext.options import check_options
from finetext.serving import logs
from finetext.serving.app import build_app
from finetext.serving.process import load_and_freeze, prepare_process, set_switch_interval
from finetext.serving.protocol import LimitedProtocol
from finetext.serving.service import Service
from finetext.serving.settings import ServeConfig, listen, name_models, read_token

CLOSE_SECONDS = 2.0
"""For connections that are still being written to when the work is done."""
MIN_SECONDS = 0.5
"""For threads that have nothing left to do, however late it is."""


def serve(models: Sequence[str], config: ServeConfig = ServeConfig()) -> None:
    """Serve models until SIGTERM or SIGINT; SIGHUP reloads them.

    Args:
        models: `FOLDER` or `NAME=FOLDER`; the first one answers requests that name none.
        config: The options.

    Raises:
        UsageError: An option is wrong, a folder is missing, or the address cannot be used.
        ModelError: A model cannot be loaded.
        RunError: Requests were cut off at the shutdown's deadline.
    """
    check_options(config, as_flags=True)
    folders = name_models(models)
    token = read_token(config)
    listening = listen(config, token)
    logs.configure()
    prepare_process()
    service = Service(folders, config, set_switch_interval)
    lifecycle = _Lifecycle(service, listening, token)
    try:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            runner.run(lifecycle.run())
    finally:
        gc.unfreeze()
        ended = service.close(lifecycle.seconds_left)
    logs.event("stopped", abandoned_requests=service.abandoned)
    if not ended or service.loading:
        sys.stderr.flush()
        # A thread that is inside a model must not outlive the interpreter.
        os._exit(bool(service.abandoned))
    if service.abandoned:
        raise RunError(f"{service.abandoned} requests were not finished. Raise --shutdown-seconds.")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: `_Lifecycle` handles them."""
        yield


class _Lifecycle:
    """The event loop's work from start to end."""

    def __init__(self, service: Service, listening: socket.socket, token: str | None) -> None:
        self._service = service
        self._listening = listening
        self._server = _Server(
            uvicorn.Config(
                build_app(service, token),
                http=LimitedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=int(CLOSE_SECONDS),
            )
        )
        self._stopped_at: float | None = None
        self._reload = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the process has to end."""
        if self._stopped_at is None:
            return CLOSE_SECONDS
        return max(MIN_SECONDS, self._stopped_at + self._service.config.shutdown_seconds - time.monotonic())

    async def run(self) -> None:
        """Serve until the signal to stop, and then until the work is done or time is up."""
        loop = asyncio.get_running_loop()
        host, port = self._listening.getsockname()[:2]
        with _signals(loop, self._stop, self._reload.set):
            logs.event("listening", host=host, port=port, models=list(self._service.names), pid=os.getpid())
            serving = asyncio.create_task(self._server.serve(sockets=[self._listening]))
            loading = asyncio.create_task(self._load())
            await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
            self._server.should_exit = True  # if the first load failed; else it is true already
            await serving
            if loading.done():
                loading.result()
            loading.cancel()

    async def _load(self) -> None:
        await load_and_freeze(self._service)
        logs.event("ready")
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                await load_and_freeze(self._service)
                self._service.metrics.reloads.labels("done").inc()
            except Exception as error:  # whatever it is, the loaded models must keep working
                self._service.metrics.reloads.labels("failed").inc()
                reason = str(error) if isinstance(error, FinetextError) else type(error).__name__
                logs.event("reload failed, the loaded models stay", logging.WARNING, reason=reason)

    def _stop(self) -> None:
        if self._draining is not None:  # the second signal
            self._server.should_exit = self._server.force_exit = True
            self._stopped_at = time.monotonic() - self._service.config.shutdown_seconds
            return
        self._service.draining = True
        self._stopped_at = time.monotonic()
        logs.event("stopping", in_flight=self._service.in_flight)
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        await asyncio.sleep(min(self._service.config.drain_seconds, self.seconds_left))
        while self._service.in_flight and self.seconds_left > CLOSE_SECONDS:
            await asyncio.sleep(0.02)
        self._server.should_exit = True


@contextlib.contextmanager
def _signals(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], None], reload: Callable[[], None]
) -> Iterator[None]:
    """Call back on the event loop when a signal arrives."""
    callbacks = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hasattr(signal, "SIGHUP"):
        callbacks[signal.SIGHUP] = reload

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callbacks[signal.Signals(number)])

    before = {number: signal.signal(number, handle) for number in callbacks}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
