"""Limits of requests: how many at a time, bytes of a body, seconds."""

import asyncio
import contextlib
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetext.serving.errors import ApiError, shutting_down
from finetext.serving.http import header, is_inference, send_error
from finetext.serving.service import Service

LINGER_SECONDS = 1.0
"""For a client that still sends a body which is refused."""


class RequestLimits:
    """Limits how many requests are in progress, how large they are and how long they take; reads their bodies."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise ApiError."""
        if not is_inference(scope):
            return await self.app(scope, receive, send)
        service, config = self.service, self.service.config
        if service.draining:
            raise shutting_down()
        if service.is_full:
            raise ApiError(
                429,
                "Too many requests are in progress. Try again later.",
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
                raise ApiError(
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
            raise ApiError(415, "Compressed bodies are refused.")
        media_type = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ApiError(415, "Send Content-Type: application/json.")
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
        error = ApiError(
            413, f"The body is larger than {limit} bytes.", ("max_body", limit), {"Connection": "close"}
        )
        await send_error(error, send, more=True)
        # The connection of a client that is still sending would be reset before it reads the answer: discard what
        # arrives within a moment.
        discarded = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while discarded <= limit:
                    message = await receive()
                    discarded += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break
        await send({"type": "http.response.body", "body": b""})


class _TooLarge(Exception):
    pass


def _too_large(length: str | None, limit: int) -> bool:
    # A number of very many digits is not even parsed.
    return length is not None and (len(length) > 18 or not length.isdigit() or int(length) > limit)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that hands out the body, and then waits for the client to hang up."""
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def replay() -> Message:
        return next(messages, None) or await receive()

    return replay
