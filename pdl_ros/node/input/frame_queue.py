"""Where frames wait for the worker: by policy the newest of each camera, or all of them in turn."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar('T')

_SILENT = 1.0  # seconds without an item after which a camera is not waited for


class FrameQueue(Generic[T]):
    """Hand items of several cameras from the executor's threads to one worker, once it is open.

    `capacity` 1 with `newest`: an item that nobody has taken yet is replaced, and counted. Without
    `newest` the items of a camera queue up; whoever puts them must ask `full` first. `on_space` is
    called when a full camera has room again. `window`: seconds for which the first camera's item
    waits for those of the others; 0: each is taken on its own. `received` and `dropped` count by
    camera.
    """

    def __init__(
        self,
        cameras: Iterable[str],
        newest: bool = True,
        capacity: int = 1,
        on_space: Callable[[], None] = lambda: None,
        window: float = 0.0,
    ) -> None:
        self._condition = threading.Condition()
        self._queues: dict[str, deque[T]] = {camera: deque() for camera in cameras}
        self._heard = dict.fromkeys(self._queues, -_SILENT)
        self._newest = newest
        self._capacity = capacity
        self._on_space = on_space
        self._window = window
        self._closed = True
        self.received = dict.fromkeys(self._queues, 0)
        self.dropped = dict.fromkeys(self._queues, 0)

    def put(self, camera: str, item: T) -> None:
        """Leave an item."""
        with self._condition:
            queue = self._queues[camera]
            self.received[camera] += 1
            self._heard[camera] = time.monotonic()
            if self._newest and queue:
                self.dropped[camera] += 1
                queue.clear()
            queue.append(item)
            self._condition.notify()

    def full(self, camera: str) -> bool:
        """Tell whether a camera's queue has no room; the newest always has."""
        with self._condition:
            return not self._newest and len(self._queues[camera]) >= self._capacity

    def take(self) -> dict[str, T]:
        """Wait for an item and take it, by camera; with a window, one of every camera that has one
        within it. Empty once the frame_queue is closed.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._closed or any(self._queues.values()))
            if self._window:
                self._condition.wait_for(lambda: self._closed or self._complete(), self._window)
            if self._closed:
                return {}
            ready = [camera for camera, queue in self._queues.items() if queue]
            taken: dict[str, T] = {}
            had_no_room = False
            for camera in ready if self._window else ready[:1]:
                had_no_room |= self.full(camera)
                taken[camera] = self._queues[camera].popleft()
                # To the end of the line: a fast camera must not starve the others.
                self._queues[camera] = self._queues.pop(camera)
        if had_no_room:
            self._on_space()
        return taken

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

    def _complete(self) -> bool:
        """Tell whether every camera that is alive has an item."""
        now = time.monotonic()
        return all(
            queue or now - self._heard[camera] > _SILENT for camera, queue in self._queues.items()
        )
