"""What the layers in front of the application share: ASGI's types, the routes, and an answer that refuses."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from finetext.serving.errors import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

WORK = ("/classify", "/explain", "/predict")
ROUTES = (*WORK, "/health", "/ready", "/info", "/card", "/metrics", "/docs", "/openapi.json", "/")
OPEN = ("/health", "/ready", "/docs", "/openapi.json", "/")
"""What needs no token: probes ask without one, and pages hold nothing but the program's own text."""
STATIC = "/static/"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
"""Of every answer."""
HUNG_UP = 499
"""Stands in the log and the figures for a client that hung up; it is never sent."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request's header, None if it has none of that name."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def is_work(scope: Scope) -> bool:
    """Tell whether a request is for a model."""
    return scope["path"] in WORK and scope["method"] == "POST"


def route_of(path: str) -> str:
    """Return a path as figures and logs name it: one of few words, whatever clients ask for."""
    return path if path in ROUTES else "/static" if path.startswith(STATIC) else "other"


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
