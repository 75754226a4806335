"""An end for a process that waits for others which will not come.

MXNet's parameter server waits without a limit: where a worker or server dies, the others stand in a call that nothing
inside the process can break off. So a thread watches the time, and ends the process with a line that says why.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

EXIT_CODE = 2
_LOOK_EVERY = 0.2  # seconds


def _leave(message: str) -> None:
    """Print a line and end the process at once: an ordinary exit would wait for the others again."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(EXIT_CODE)


class Watchdog:
    """Watches how long the process waits for others.

    Args:
        seconds: after which it gives up.
        expired: called with what to say then; by default it ends the process.
    """

    def __init__(self, seconds: float, expired: Callable[[str], None] = _leave):
        self.seconds = seconds
        self._expired = expired
        self._armed: tuple[float, str] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def arm(self, message: str, seconds: float | None = None) -> None:
        """Begin to count, anew where it counts already.

        Args:
            message: to leave with.
            seconds: other than the usual ones.
        """
        self._armed = (time.monotonic() + (self.seconds if seconds is None else seconds), message)

    def disarm(self) -> None:
        """Stop counting."""
        self._armed = None

    @contextlib.contextmanager
    def waiting(self, message: str, seconds: float | None = None) -> Iterator[None]:
        """Count while the block runs; arguments as for `arm`."""
        self.arm(message, seconds)
        try:
            yield
        finally:
            self.disarm()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_EVERY):
            armed = self._armed
            if armed is not None and time.monotonic() > armed[0]:
                self._armed = None
                self._expired(armed[1])
