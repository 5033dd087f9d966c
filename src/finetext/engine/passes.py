"""What one forward pass leaves for itself on the way, apart from that of another thread."""

import threading


class PassState(threading.local):
    """State of the pass that this thread runs; a subclass names it, with what it is between passes."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Let a network that holds it be copied and pickled, without it."""
        return type(self), ()
