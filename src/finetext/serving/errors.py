"""Error responses: one JSON shape that names the exceeded limit and reveals nothing of the server's internals."""

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

STATUSES = {
    400: ("BadRequest", "The body is not valid JSON."),
    401: ("Unauthorized", "The token is missing or wrong."),
    403: ("Forbidden", "The Host or Origin header names another site."),
    404: ("NotFound", "Not found."),
    405: ("MethodNotAllowed", "Method not allowed."),
    408: ("Timeout", "The body took too long to arrive."),
    413: ("Validation", "The body is too large."),
    415: ("Validation", "The body is compressed, or its type is not JSON."),
    422: ("Validation", "The body does not match the schema, or exceeds a limit."),
    429: ("Overloaded", "The queue is full, or too many requests are in progress; see Retry-After."),
    500: ("Backend", "The server failed."),
    503: ("Unhealthy", "The models are being loaded, or the server is shutting down."),
    504: ("Timeout", "The answer took too long."),
}
"""The error type of each status, and what it means."""


class ApiError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what to do, in a sentence or two; never part of an exception or a path.
        limit: The name and value of the limit that was exceeded, if one was.
        headers: Further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        limit: tuple[str, float] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.limit = limit
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """Return the body of the response."""
        kind, _ = STATUSES.get(self.status, ("Error", ""))
        content: dict[str, Any] = {"error": self.message, "error_type": kind}
        if self.limit is not None:
            content["limit"] = {"name": self.limit[0], "value": self.limit[1]}
        return json.dumps(content).encode()

    def response(self) -> Response:
        """Return the response."""
        return Response(self.body(), self.status, self.headers, "application/json")


def internal_error() -> ApiError:
    """Return the response to a request on which the server itself failed; the log says more."""
    return ApiError(500, "The server failed on this request.")


def shutting_down() -> ApiError:
    """Return the response to work that arrives after the signal to stop."""
    return ApiError(503, "The server is shutting down.", headers={"Retry-After": "5"})
