"""A one-slot mailbox: the newest frame wins, and every frame that is pushed out is counted."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """Hand the newest item from one thread to another. `received` and `dropped` count since the
    start.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._closed = False
        self.received = 0
        self.dropped = 0

    def put(self, item: T) -> None:
        """Leave an item, replacing (and counting) one that nobody has taken yet."""
        with self._condition:
            self.received += 1
            self.dropped += self._item is not None
            self._item = item
            self._condition.notify()

    def take(self) -> T | None:
        """Wait for an item and take it; None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Wake the taker and end its work."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
