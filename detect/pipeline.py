"""Work done ahead in threads: images are decoded while the network computes, and come out in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Value = TypeVar("Item"), TypeVar("Value")


def map_ahead(
    function: Callable[[Item], Value], items: Iterable[Item], *, threads: int, ahead: int
) -> Iterator[Value]:
    """Yield `function(item)` of every item, in order, computed in threads.

    Args:
        function: called in a thread; what it raises is raised here, at its item's turn.
        items: taken one by one, at most `ahead` before their turn.
        threads: how many; with 0 it is called here, and nothing is done ahead.
        ahead: bounds how many values wait in memory.
    """
    if not threads:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Not waited for: where the garbage collector ends this it may be in any thread, a starting one too.
        pool.shutdown(wait=False, cancel_futures=True)


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items; the last may be shorter."""
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
