"""Error responses: one JSON shape that names the exceeded limit and reveals nothing of the server's internals."""

import json
from collections.abc import Mapping
from typing import Any

KINDS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "Timeout",
    413: "Validation",
    415: "Validation",
    422: "Validation",
    429: "Overloaded",
    500: "Backend",
    503: "Unhealthy",
    504: "Timeout",
}


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
        content: dict[str, Any] = {"error": self.message, "error_type": KINDS.get(self.status, "Error")}
        if self.limit is not None:
            content["limit"] = {"name": self.limit[0], "value": self.limit[1]}
        return json.dumps(content).encode()


def internal_error() -> ApiError:
    """Return the response to a request on which the server itself failed; the log says more."""
    return ApiError(500, "The server failed on this request.")


def shutting_down() -> ApiError:
    """Return the response to work that arrives after the signal to stop."""
    return ApiError(503, "The server is shutting down.", headers={"Retry-After": "5"})
