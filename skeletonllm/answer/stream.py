"""Work that runs ahead in a thread, so that whoever needs its results does not wait for them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_LOOK_S = 0.1


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """The items in their order, up to `depth` of them made in a thread before they are asked for.

    What the thread raises is raised here, after the items before it. The thread ends when this is closed.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(depth)
    closed = threading.Event()

    def hand_over(what: str, item: T | BaseException | None) -> bool:
        while not closed.is_set():
            try:
                ready.put((what, item), timeout=_LOOK_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not hand_over("item", item):
                    return
            hand_over("end", None)
        except BaseException as error:
            hand_over("error", error)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, item = ready.get()
            if what == "end":
                return
            if what == "error":
                raise item  # type: ignore[misc]
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def in_groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
