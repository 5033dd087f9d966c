"""What stands in front of the application, as plain ASGI: counting and logging, who may enter, and how much."""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from finetext.serving import logs
from finetext.serving.problems import Refusal, internal_error, shutting_down
from finetext.serving.service import Service
from finetext.serving.settings import ServeConfig

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WORK = ("/classify", "/predict")
ROUTES = (*WORK, "/health", "/ready", "/info", "/metrics", "/docs", "/openapi.json", "/")
OPEN = ("/health", "/ready", "/docs", "/openapi.json", "/")
"""What needs no token: probes ask without one, and pages hold nothing but the program's own text."""
STATIC = "/static/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
HUNG_UP = 499
LINGER_SECONDS = 1.0
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request's header, None if it has none of that name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def route_of(path: str) -> str:
    """Return a path as figures and logs name it: one of few words, whatever clients ask for."""
    return path if path in ROUTES else "/static" if path.startswith(STATIC) else "other"


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


class _Exchange:
    """A request and what is noted of it; the routes add to `scope["finetext"]` what the log shall say."""

    def __init__(self, scope: Scope, send: Send, service: Service) -> None:
        self.status: int | None = None
        self.identity = secrets.token_hex(8)
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
            if self._route != "/static":
                extra.append((b"cache-control", b"no-store"))
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
        metrics = self._service.metrics
        metrics.requests.labels(self._route, str(self.status)).inc()
        metrics.seconds.labels(self._route).observe(time.perf_counter() - self._began)


async def refuse(refusal: Refusal, send: Send, *, more: bool = False) -> None:
    """Send the answer to a request that is refused; with `more` its end is sent by the caller."""
    body = refusal.body()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **{name.lower(): value for name, value in refusal.headers.items()},
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": more})


class Gate:
    """Lets in who names this server, comes from no other site, and has the token."""

    def __init__(self, app: App, config: ServeConfig, token: str | None) -> None:
        self.app = app
        self._names = _names(config)
        self._any_address = _is_wildcard(config.host)
        self._token = None if token is None else _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise Refusal."""
        host = header(scope, b"host") or ""
        if not self._knows(host):
            raise Refusal(403, "The Host header names another server. Start this one with --allow-host NAME.")
        origin = header(scope, b"origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise Refusal(403, "Requests from pages of other sites are refused.")
        path = scope["path"]
        if self._token is not None and path not in OPEN and not path.startswith(STATIC):
            scheme, _, given = (header(scope, b"authorization") or "").partition(" ")
            right = hmac.compare_digest(_digest(given.strip().encode("latin-1")), self._token)
            if not right or scheme.lower() != "bearer":
                raise Refusal(
                    401,
                    "Send the token: Authorization: Bearer TOKEN.",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        await self.app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        return name in self._names or (self._any_address and _is_address(name))


def _digest(token: bytes) -> bytes:
    # Of digests the comparison takes the same time whatever the lengths.
    return hashlib.sha256(token).digest()


def _names(config: ServeConfig) -> set[str]:
    names = {"localhost", "127.0.0.1", "::1", config.host, *config.allow_host}
    if _is_wildcard(config.host):
        names |= {socket.gethostname(), socket.getfqdn()}
    return {name.strip("[]").lower() for name in names if name}


def _is_wildcard(host: str) -> bool:
    return host in ("", "0.0.0.0", "::")


def _is_address(name: str) -> bool:
    # Behind a wildcard any address may be ours, and no other site can make a browser send one in Host.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Limits:
    """Bounds the work: how many requests at a time, how large, how long; and reads their bodies."""

    def __init__(self, app: App, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or raise Refusal."""
        if scope["path"] not in WORK or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        service, config = self.service, self.service.config
        if service.draining:
            raise shutting_down()
        if service.in_flight >= config.max_requests:
            raise Refusal(
                429,
                "Too many requests at a time. Try again later.",
                ("max_requests", config.max_requests),
                {"Retry-After": "1"},
            )
        service.in_flight += 1
        try:
            deadline = asyncio.get_running_loop().time() + config.timeout_seconds
            scope["finetext.deadline"] = deadline
            try:
                async with asyncio.timeout_at(deadline):
                    body = await self._read(scope, receive)
            except TimeoutError:
                raise Refusal(
                    408,
                    f"The body took longer than {config.timeout_seconds:g} s to arrive.",
                    ("timeout_seconds", config.timeout_seconds),
                    {"Connection": "close"},
                ) from None
            except _TooLarge:
                return await self._refuse_body(receive, send)
            if body is not None:
                await self.app(scope, _replay(body, receive), send)
        except asyncio.CancelledError:
            service.abandoned += 1
            raise
        finally:
            service.in_flight -= 1

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, None if the client hung up before its end."""
        if header(scope, b"content-encoding") not in (None, "", "identity"):
            raise Refusal(415, "Compressed bodies are refused.")
        kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refusal(415, "Send Content-Type: application/json.")
        limit = self.service.config.max_body
        if _too_large(header(scope, b"content-length"), limit):
            raise _TooLarge
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            if len(body) + len(message.get("body", b"")) > limit:
                raise _TooLarge
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)

    async def _refuse_body(self, receive: Receive, send: Send) -> None:
        limit = self.service.config.max_body
        refusal = Refusal(
            413,
            f"The body is larger than {limit} bytes.",
            ("max_body", limit),
            {"Connection": "close"},
        )
        await refuse(refusal, send, more=True)
        # A client that is still sending would find its connection reset before it reads the answer: what comes
        # within a moment is thrown away.
        thrown = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while thrown <= limit:
                    message = await receive()
                    thrown += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b""})


class _TooLarge(Exception):
    pass


def _too_large(length: str | None, limit: int) -> bool:
    # A number of very many digits is not even read.
    return length is not None and (len(length) > 18 or not length.isdigit() or int(length) > limit)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out the body, and then tells when the client hangs up."""
    parts: Iterable[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        for message in parts:
            return message
        return await receive()

    return replay
