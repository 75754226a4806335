"""Frames read ahead in a thread of their own: a video must be decoded in order, while the network computes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def read_ahead(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """Yield items, taken in a thread before their turn; closing it waits until the thread has ended.

    Args:
        items: taken in order, in one thread; what taking them raises is raised here, at its turn.
        ahead: how many may wait; bounds the memory.
    """
    waiting: queue.Queue = queue.Queue(max(1, ahead))
    stop = threading.Event()
    thread = threading.Thread(target=_fill, args=(items, waiting, stop), name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        while thread.is_alive():  # it may wait for room
            with contextlib.suppress(queue.Empty):
                waiting.get_nowait()
            thread.join(0.01)


def apart(function: Callable[[], Item]) -> Item:
    """Return what a function returns, called in a thread of its own: Ctrl-C ends the wait even if it does not heed it.

    FFmpeg waits for a network without looking at signals, and PyAV may pass over the KeyboardInterrupt afterwards.
    """
    done = queue.Queue(1)

    def call() -> None:
        try:
            done.put((function(), None))
        except BaseException as error:  # noqa: BLE001 (raised again where the result is wanted)
            done.put((None, error))

    threading.Thread(target=call, name="open", daemon=True).start()
    value, error = done.get()
    if error is not None:
        raise error
    return value


def _fill(items: Iterable, waiting: queue.Queue, stop: threading.Event) -> None:
    """Put items into a queue until they end or `stop` is set; then their end, or their error."""
    end: tuple = (_END, None)
    try:
        for item in items:
            waiting.put((item, None))
            if stop.is_set():
                return
    except BaseException as error:  # noqa: BLE001 (raised again where the items are wanted)
        end = (None, error)
    waiting.put(end)
