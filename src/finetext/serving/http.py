"""What the ASGI middleware share: routes, headers, and how to send an error."""

from starlette.types import Scope, Send

from finetext.serving.errors import ApiError

INFERENCE_ROUTES = ("/classify", "/explain", "/predict")
ROUTES = (*INFERENCE_ROUTES, "/health", "/ready", "/info", "/card", "/metrics", "/docs", "/openapi.json", "/")
PUBLIC_ROUTES = ("/health", "/ready", "/docs", "/openapi.json", "/")
"""Routes that need no token: probes have none, and the pages hold nothing but the program's own text."""
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
"""Headers of every response."""
CLIENT_DISCONNECTED = 499
"""Status of a client that hung up in logs and metrics; it is never sent."""


def header(scope: Scope, name: bytes) -> str | None:
    """Return a request's header, None if it is missing."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def is_inference(scope: Scope) -> bool:
    """Return whether a request is for a model."""
    return scope["path"] in INFERENCE_ROUTES and scope["method"] == "POST"


def route_of(path: str) -> str:
    """Return a path as metrics and logs name it: one of few, whatever clients ask for."""
    return path if path in ROUTES else "/static" if path.startswith(STATIC) else "other"


async def send_error(error: ApiError, send: Send, *, more: bool = False) -> None:
    """Send an error response; with `more` the caller ends its body."""
    response = error.response()
    await send({"type": "http.response.start", "status": error.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": more})
