"""uvicorn's HTTP/1.1 protocol, with a limit of time for a request's head, and its own answer in our form."""

import asyncio
import contextlib
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from finetext.serving.asgi import HEADERS
from finetext.serving.problems import Refusal

HEAD_SECONDS = 10.0


class Protocol(H11Protocol):
    """A connection."""

    _waiting_for_head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time that the first request's head may take."""
        super().connection_made(transport)
        self._waiting_for_head = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it."""
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()  # type: ignore[unreachable]  # None before the first request

    def send_400_response(self, msg: str) -> None:
        """Answer something that is no HTTP request, and close."""
        body = Refusal(400, "This is no HTTP request that can be read.").body()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *HEADERS,
        ]
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        )
        self.app.count_garbage()
        with contextlib.suppress(h11.LocalProtocolError):  # an answer is under way
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
