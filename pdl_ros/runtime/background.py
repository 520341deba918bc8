"""Work that goes on in threads while its results are used."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar('T')
_LOOK = 0.05  # seconds between two looks at a thread that is to end


def ahead(items: Iterable[T], depth: int, name: str) -> Iterator[T]:
    """Iterate in a thread of its own, which is up to `depth` items before whoever takes them.

    Several of these in a row are stages that work at the same time, each on another item. What a
    stage raises is raised where its items are taken. When the iterator is closed, or fails, the
    thread ends after the item that it works on, and closes what it iterates over.
    """
    made: queue.Queue[tuple[bool, object]] = queue.Queue(depth)
    closed = threading.Event()

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                made.put((True, item))
                if closed.is_set():
                    return
            made.put((False, None))
        except BaseException as error:
            made.put((False, error))
        finally:
            if hasattr(iterator, 'close'):
                iterator.close()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while True:
            is_item, item = made.get()
            if not is_item:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        while thread.is_alive():  # it may wait for room
            with contextlib.suppress(queue.Empty):
                made.get(timeout=_LOOK)
        thread.join()
