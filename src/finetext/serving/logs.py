"""Structured logs: a JSON object a line on stderr, which never holds a text, a query or an exception's message."""

import json
import logging
import sys
import time
import traceback
from typing import Any

_OWN = "finetext.serving"
_log = logging.getLogger(_OWN)


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON.

    Of other libraries' records only the template's first line is written, without what they put into it, and of
    exceptions only their kind and where they came from: both might quote a text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": str(record.msg).split("\n", 1)[0][:200],
        }
        if record.name != _OWN:
            line["logger"] = record.name
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        return json.dumps(line)


def configure() -> None:
    """Send everything that is logged to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    _log.setLevel(logging.INFO)
    # No line has them, and each costs a system call or more.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.raiseExceptions = False  # a log that nobody reads any more must not add tracebacks
    logging.captureWarnings(True)


def event(name: str, /, **fields: Any) -> None:
    """Log something that happened."""
    _log.info(name, extra={"fields": fields})


def warning(name: str, /, **fields: Any) -> None:
    """Log something that asks for a look."""
    _log.warning(name, extra={"fields": fields})


def failure(name: str, error: BaseException, /, **fields: Any) -> None:
    """Log a fault of the server itself."""
    _log.error(name, extra={"fields": {**fields, **describe(error)}})


def describe(error: BaseException) -> dict[str, Any]:
    """Return an exception's kind and the calls that led to it."""
    calls = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "exception": type(error).__name__,
        "calls": [f"{call.filename}:{call.lineno} {call.name}" for call in calls],
    }
