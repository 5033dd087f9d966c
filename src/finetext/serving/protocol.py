"""uvicorn's HTTP/1.1 protocol with limits against slow and endless clients, and error responses in our format.

It builds on internals of uvicorn, which `tests/serving/test_protocol.py` checks.
"""

import asyncio
import contextlib
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from finetext.serving.errors import ApiError
from finetext.serving.http import HEADERS
from finetext.serving.settings import ServeConfig

HEAD_SECONDS = 10.0
"""For the head of a request, unless `timeout_seconds` is shorter."""
MAX_OVERHEAD_BYTES = 65_536
"""Of a request outside its body: head, chunk framing, trailers."""
FRAMING_BYTES = 16
"""Framing that is not counted, per byte of body: chunks of one byte need 5."""
MAX_PIPELINED = 64
"""Requests that may wait on a connection for the response to an earlier one."""


class _CoalescingTransport:
    """A transport that writes once per turn of the event loop, which usually is a whole response.

    With a system call each for head and body, the models' threads would take the interpreter in between, and the
    client would wake twice.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send at the end of this turn."""
        if not self._parts:
            self._loop.call_soon(self._send)
        self._parts.append(data)

    def close(self) -> None:
        """Send what has been written, and close."""
        self._send()
        self._transport.close()

    def _send(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.write(b"".join(parts))


class LimitedProtocol(HttpToolsProtocol):
    """A connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _running: Any = None
    _overhead = 0
    _body_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the first request's head."""
        super().connection_made(_CoalescingTransport(transport, self.loop))  # type: ignore[arg-type]
        self._limits: ServeConfig = self.app.service.config
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        for timer in (self._head_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        if self._running is not None:  # uvicorn notifies only the latest request
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read its responses."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(self._limits.timeout_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel it."""
        if self._read_timer is not None:
            self._read_timer.cancel()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse data, and refuse an endless head."""
        self._overhead += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._overhead > MAX_OVERHEAD_BYTES:
            self.send_400_response("")
        elif self._idle and self._head_timer is None:
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """Reset the counters."""
        super().on_message_begin()
        self._overhead = self._body_bytes = 0

    def on_headers_complete(self) -> None:
        """Cancel the timer of the head, and start the request."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if len(self.pipeline) >= MAX_PIPELINED:
            raise httptools.HttpParserError("too many pipelined requests")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take part of a body, with its framing, off the overhead."""
        self._overhead = max(0, self._overhead - FRAMING_BYTES * len(body))
        super().on_body(body)
        self._body_bytes += len(body)
        # A client that keeps sending a refused body gets time to read why.
        if self.cycle.response_started and self._body_bytes > 2 * self._limits.max_body:
            self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        if not self.flow.write_paused and app.is_full_for(cycle.scope):
            # Refused without awaiting anything: a task would cost as much again, which the workers would lack.
            with contextlib.suppress(StopIteration):
                cycle.run_asgi(app).send(None)
            return
        super()._start_asgi_task(cycle, app)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_head_timer(self) -> None:
        seconds = min(HEAD_SECONDS, self._limits.timeout_seconds)
        self._head_timer = self.loop.call_later(seconds, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Answer input that is not HTTP, and close."""
        if not self._idle and not self.pipeline and not self.cycle.more_body:
            # It follows a valid request, whose response is sent first and is the last.
            self.cycle.keep_alive = False
            return self.flow.pause_reading()
        self.app.count_malformed()
        if self._idle or not (self.pipeline or self.cycle.response_started):
            body = ApiError(400, "Invalid HTTP request.").body()
            headers = {b"content-type": b"application/json", b"content-length": b"%d" % len(body)}
            lines = [b"%s: %s" % pair for pair in (*headers.items(), (b"connection", b"close"), *HEADERS)]
            self.transport.write(b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", body]))
        self.transport.close()
