"""The outermost layer: every request counted and logged, every answer with the same headers."""

import asyncio
import random
import time
from typing import Any

from finetext.serving import logs
from finetext.serving.errors import Refusal, internal_error, shutting_down
from finetext.serving.http import (
    HEADERS,
    HUNG_UP,
    App,
    Message,
    Receive,
    Scope,
    Send,
    is_work,
    refuse,
    route_of,
)
from finetext.serving.service import Service

# Not `secrets`: after a system call the event loop has to wait for the model's thread.
_identities = random.Random()
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Watch:
    """Outermost: counts and logs every request, sets the headers that every answer has, answers refusals."""

    def __init__(self, app: App, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, send, self.service)
        try:
            await self.app(scope, receive, exchange.send)
        except Refusal as refusal:
            if exchange.status is None:
                await refuse(refusal, exchange.send)
        except asyncio.CancelledError:  # the deadline of the shutdown; nothing outside waits for this task
            if exchange.status is None:
                await refuse(shutting_down(), exchange.send)
        except Exception as error:
            logs.failure("request failed", error, id=exchange.identity)
            if exchange.status is None:
                await refuse(internal_error(), exchange.send)
        exchange.end()

    def is_full_for(self, scope: Scope) -> bool:
        """Tell whether a request can only be refused, since too many are in work; then nothing is waited for."""
        return self.service.is_full and is_work(scope)

    def count_garbage(self) -> None:
        """Count something that was no HTTP request, and was answered with 400 before it could get here."""
        self.service.metrics.answered("other", 400)


class _Exchange:
    """A request and what is noted of it; the routes add to `scope["finetext"]` what the log shall say."""

    def __init__(self, scope: Scope, send: Send, service: Service) -> None:
        self.status: int | None = None
        self.identity = f"{_identities.getrandbits(64):016x}"
        self._noted: dict[str, Any] = {}
        scope["finetext"] = self._noted
        self._began = time.perf_counter()
        self._route = route_of(scope["path"])
        self._method = scope["method"] if scope["method"] in METHODS else "other"
        self._send = send
        self._service = service

    async def send(self, message: Message) -> None:
        """Send on, with the headers of every answer; counted before the client can see it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status != HUNG_UP:
                self._count()
            extra = [*HEADERS, (b"x-request-id", self.identity.encode())]
            extra.append((b"cache-control", b"no-cache" if self._route == "/static" else b"no-store"))
            if self._service.draining:
                extra.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", []), *extra]
        await self._send(message)

    def end(self) -> None:
        """Count a client that hung up, and log the request."""
        if self.status in (None, HUNG_UP):
            self.status = HUNG_UP
            self._count()
        logs.event(
            "request",
            id=self.identity,
            method=self._method,
            route=self._route,
            status=self.status,
            ms=round((time.perf_counter() - self._began) * 1e3, 2),
            **self._noted,
        )

    def _count(self) -> None:
        self._service.metrics.answered(self._route, self.status, time.perf_counter() - self._began)
