"""Answers that refuse: one JSON shape, which names the limit and tells nothing of the server's inside."""

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


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: The HTTP status.
        message: What is wrong and what to do, in a sentence or two; never anything of an exception or a path.
        limit: The name and value of the limit that was met, None if it was none.
        headers: Further headers of the answer.
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
        """Return the answer's body."""
        content: dict[str, Any] = {"error": self.message, "error_type": KINDS.get(self.status, "Error")}
        if self.limit is not None:
            content["limit"] = {"name": self.limit[0], "value": self.limit[1]}
        return json.dumps(content).encode()


def internal_error() -> Refusal:
    """Return the answer to a request on which the server itself failed; the log says more."""
    return Refusal(500, "The server failed on this request.")


def shutting_down() -> Refusal:
    """Return the answer to work that comes after the signal to stop."""
    return Refusal(503, "The server is shutting down.", headers={"Retry-After": "5"})
