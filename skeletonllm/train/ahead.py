"""What the next step needs, made on a thread while this step is computed."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


@contextmanager
def made_ahead(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """The same items in the same order; while one of them is used, the next one is made, and no more.

    All are made on one thread, which has ended when the block is left, however it is left. What goes wrong in making an
    item is raised where that item is asked for.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        yield _taken(thread, iter(items))


def _taken(thread: ThreadPoolExecutor, items: Iterator[T]) -> Iterator[T]:
    coming: Future[Any] = thread.submit(next, items, _END)
    while (item := coming.result()) is not _END:
        coming = thread.submit(next, items, _END)
        yield item
