"""Structured logs: JSON lines on stderr that never contain a text, a query or the message of an exception."""

import json
import logging
import sys
import time
import traceback
from typing import Any

_LOGGER_NAME = "finetext.serving"
_logger = logging.getLogger(_LOGGER_NAME)


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON.

    Of other libraries' records only the first line of the template is written, without its arguments, and of
    exceptions only their type and origin: both might quote a text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": str(record.msg).split("\n", 1)[0][:200],
        }
        if record.name != _LOGGER_NAME:
            line["logger"] = record.name
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        return json.dumps(line)


def configure() -> None:
    """Write all logs of the process to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _logger.setLevel(logging.INFO)
    # Not in any line, and each costs a system call or more.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.raiseExceptions = False  # a closed stderr must not add tracebacks
    logging.captureWarnings(True)


def event(name: str, /, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event."""
    _logger.log(level, name, extra={"fields": fields})


def failure(name: str, error: BaseException, /, **fields: Any) -> None:
    """Log an error of the server itself."""
    event(name, logging.ERROR, **fields, **describe(error))


def describe(error: BaseException) -> dict[str, Any]:
    """Return the type of an exception and the calls that led to it."""
    calls = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "exception": type(error).__name__,
        "calls": [f"{call.filename}:{call.lineno} {call.name}" for call in calls],
    }
