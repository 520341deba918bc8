"""Where frames wait for the worker: by policy the newest of each camera, or all of them in turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar('T')


class Inbox(Generic[T]):
    """Hand items of several cameras from the executor's threads to one worker, once it is open.

    `capacity` 1 with `newest`: an item that nobody has taken yet is replaced, and counted. Without
    `newest` the items of a camera queue up; whoever puts them must ask `full` first. `on_space` is
    called when a full camera has room again. `received` and `dropped` count by camera.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        newest: bool = True,
        capacity: int = 1,
        on_space: Callable[[], None] = lambda: None,
    ) -> None:
        self._condition = threading.Condition()
        self._queues: dict[str, deque[T]] = {camera: deque() for camera in cameras}
        self._newest = newest
        self._capacity = capacity
        self._on_space = on_space
        self._closed = True
        self.received = dict.fromkeys(self._queues, 0)
        self.dropped = dict.fromkeys(self._queues, 0)

    def put(self, camera: str, item: T) -> None:
        """Leave an item."""
        with self._condition:
            queue = self._queues[camera]
            self.received[camera] += 1
            if self._newest and queue:
                self.dropped[camera] += 1
                queue.clear()
            queue.append(item)
            self._condition.notify()

    def full(self, camera: str) -> bool:
        """Tell whether a camera's queue has no room; the newest always has."""
        with self._condition:
            return not self._newest and len(self._queues[camera]) >= self._capacity

    def take(self) -> tuple[str, T] | None:
        """Wait for an item and take it, the cameras in turn; None once the inbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or any(self._queues.values()))
            if self._closed:
                return None
            camera = next(name for name, queue in self._queues.items() if queue)
            was_full = self.full(camera)
            item = self._queues[camera].popleft()
            # To the end of the line: a fast camera must not starve the others.
            self._queues[camera] = self._queues.pop(camera)
        if was_full:
            self._on_space()
        return camera, item

    def open(self) -> None:
        """Begin, or begin again after `close`, with nothing waiting."""
        with self._condition:
            self._closed = False
            for queue in self._queues.values():
                queue.clear()

    def close(self) -> None:
        """Wake the worker and end its work."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
