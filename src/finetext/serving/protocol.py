"""uvicorn's HTTP/1.1 protocol, with limits to what is no body, and its own answer in our form."""

import asyncio
import contextlib
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from finetext.serving.errors import Refusal
from finetext.serving.http import HEADERS
from finetext.serving.settings import ServeConfig

HEAD_SECONDS = 10.0
"""For a request's head, unless a whole request has less."""
HEAD_BYTES = 65_536
"""Of a request that are no body: its head, the frames of its chunks, what follows them."""
FRAME_BYTES = 16
"""Of the frame that each byte of a body may bring with it: who sends a byte a chunk needs 5."""
MOST_PIPELINED = 64
"""Requests that may wait on a connection for the answer to an earlier one."""


class _OneWrite:
    """A transport that sends what is written in one turn of the event loop at once, most often a whole answer.

    A system call each for head and body would let the models' threads have Python in between, and wake the client
    twice.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, at the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what is written, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class Protocol(HttpToolsProtocol):
    """A connection."""

    _waiting_for_head: asyncio.TimerHandle | None = None
    _waiting_for_reader: asyncio.TimerHandle | None = None
    _running: Any = None
    _not_body = 0
    _body = 0

    def connection_made(self, transport: Any) -> None:
        """Start the time that the first request's head may take."""
        super().connection_made(_OneWrite(transport, self.loop))  # type: ignore[arg-type]
        self._limits: ServeConfig = self.app.service.config
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all times."""
        self._stop_waiting()
        self._stop_waiting_for_reader()
        if self._running is not None:  # uvicorn tells the latest request alone
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the time in which a client has to read its answers."""
        super().pause_writing()
        self._waiting_for_reader = self.loop.call_later(self._limits.timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, and refuse what has no end."""
        self._not_body += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._not_body > HEAD_BYTES:
            self.send_400_response("")
        elif self._idle and self._waiting_for_head is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Count anew."""
        super().on_message_begin()
        self._not_body = self._body = 0

    def on_headers_complete(self) -> None:
        """Stop the time, and start the request."""
        self._stop_waiting()
        if len(self.pipeline) >= MOST_PIPELINED:
            raise httptools.HttpParserError("too many requests ahead of their answers")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, and what framed it, off the count."""
        self._not_body = max(0, self._not_body - FRAME_BYTES * len(body))
        super().on_body(body)
        self._body += len(body)
        # A client that sends on what is refused has the time to read why.
        if self.cycle.response_started and self._body > 2 * self._limits.max_body:
            self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if not self.flow.write_paused and app.is_full_for(cycle.scope):
            # Refused without waiting for anything: a task for it would cost the lanes what it costs here.
            with contextlib.suppress(StopIteration):
                cycle.run_asgi(app).send(None)
            return
        super()._start_asgi_task(cycle, app)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        seconds = min(HEAD_SECONDS, self._limits.timeout_seconds)
        self._waiting_for_head = self.loop.call_later(seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
            self._waiting_for_head = None

    def _stop_waiting_for_reader(self) -> None:
        if self._waiting_for_reader is not None:
            self._waiting_for_reader.cancel()
            self._waiting_for_reader = None

    def send_400_response(self, msg: str) -> None:
        """Answer something that is no HTTP request, and close."""
        if not self._idle and not self.pipeline and not self.cycle.more_body:
            # It follows a good request, whose answer comes first and is the last.
            self.cycle.keep_alive = False
            return self.flow.pause_reading()
        self.app.count_garbage()
        if self._idle or not (self.pipeline or self.cycle.response_started):
            body = Refusal(400, "This is no HTTP request that can be read.").body()
            headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
            lines = [b"%s: %s" % pair for pair in (*headers.items(), (b"connection", b"close"), *HEADERS)]
            self.transport.write(b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", body]))
        self.transport.close()
