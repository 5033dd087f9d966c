"""The access log: every request counted and logged, every response with the security headers."""

import asyncio
import random
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetext.serving import logs
from finetext.serving.errors import ApiError, internal_error, shutting_down
from finetext.serving.http import CLIENT_DISCONNECTED, HEADERS, is_inference, route_of, send_error
from finetext.serving.service import Service

# Not `secrets`: after its system call the event loop would wait for the model's thread.
_request_ids = random.Random()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class AccessLog:
    """The outermost middleware: counts and logs requests, adds headers to responses, and sends errors."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, send, self.service)
        error: ApiError | None = None
        try:
            await self.app(scope, receive, exchange.send)
        except ApiError as refusal:
            error = refusal
        except asyncio.CancelledError:  # at the deadline of the shutdown; nothing awaits this task
            error = shutting_down()
        except Exception as failure:
            logs.failure("request failed", failure, id=exchange.id)
            error = internal_error()
        if error is not None and exchange.status is None:
            await send_error(error, exchange.send)
        exchange.end()

    def is_full_for(self, scope: Scope) -> bool:
        """Return whether a request will be refused because too many are in progress; nothing is awaited then."""
        return self.service.is_full and is_inference(scope)

    def count_malformed(self) -> None:
        """Count input that is not HTTP and was answered with 400 by the protocol."""
        self.service.metrics.answered("other", 400)


class _Exchange:
    """A request and its log line; the routes add fields through `scope["finetext"]`."""

    def __init__(self, scope: Scope, send: Send, service: Service) -> None:
        self.status: int | None = None
        self.id = f"{_request_ids.getrandbits(64):016x}"
        self._fields: dict[str, Any] = {}
        scope["finetext"] = self._fields
        self._began = time.perf_counter()
        self._route = route_of(scope["path"])
        self._method = scope["method"] if scope["method"] in METHODS else "other"
        self._send = send
        self._service = service

    async def send(self, message: Message) -> None:
        """Send a message with the headers of every response; it is counted before the client can see it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status != CLIENT_DISCONNECTED:
                self._count()
            extra = [*HEADERS, (b"x-request-id", self.id.encode())]
            extra.append((b"cache-control", b"no-cache" if self._route == "/static" else b"no-store"))
            if self._service.draining:
                extra.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", []), *extra]
        await self._send(message)

    def end(self) -> None:
        """Count a client that hung up, and log the request."""
        if self.status in (None, CLIENT_DISCONNECTED):
            self.status = CLIENT_DISCONNECTED
            self._count()
        logs.event(
            "request",
            id=self.id,
            method=self._method,
            route=self._route,
            status=self.status,
            ms=round((time.perf_counter() - self._began) * 1e3, 2),
            **self._fields,
        )

    def _count(self) -> None:
        self._service.metrics.answered(self._route, self.status, time.perf_counter() - self._began)
