"""Preparing the next item in a thread while the current one is processed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each taken from the iterator while the consumer works on the one before it.

    An error of the iterator is raised where its item would have come. If the consumer stops early, the thread ends
    after the item that it is preparing.
    """
    with ThreadPoolExecutor(1, "prefetch") as pool:
        upcoming = pool.submit(next, items, _END)
        while (item := upcoming.result()) is not _END:
            upcoming = pool.submit(next, items, _END)
            yield item  # type: ignore[misc]
