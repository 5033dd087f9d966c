"""SIGINT and SIGTERM end a run: at once while there is nothing to lose, otherwise after a checkpoint.

A second signal ends the process immediately.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from finetext.errors import Interrupted


class StopRequest:
    """Catches the signals inside its `with` block; only possible in the main thread.

    Attributes:
        signal_number: The signal that was caught, None if none was.
        message: What the user is told when a signal ends the run at once.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self.message = "interrupted before training began; nothing was written."
        self._deferred = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only take note of a signal inside the block; the code there calls `raise_if_requested` where it is safe."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def raise_if_requested(self) -> None:
        """Raise Interrupted if a signal was caught."""
        if self.signal_number is not None:
            raise Interrupted(self.message, self.signal_number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal_number is not None:
            os._exit(128 + number)
        self.signal_number = number
        if not self._deferred:
            raise Interrupted(self.message, number)
