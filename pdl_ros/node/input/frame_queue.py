"""Where frames wait for the worker: by policy the newest of each camera, or all of them in turn."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar('T')

_SILENT = 1.0  # seconds without an item after which a camera is not waited for
_WAITING = 8  # items of a camera that may wait for what belongs to them, of 6 MB each


def _complete() -> float:
    return 0.0


class FrameQueue(Generic[T]):
    """Hand items of several cameras from the executor's threads to one worker, once it is open.

    With `newest`, an item that is complete replaces those before it that nobody has taken yet,
    which are counted. Without, the items of a camera queue up, `capacity` of them; whoever puts
    them must ask `full` first. `on_space` is called when a full camera has room again. `window`:
    seconds for which the first camera's item waits for those of the others; 0: each is taken on its
    own. `received` and `dropped` count by camera.
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
        self._queues: dict[str, deque[tuple[T, Callable[[], float]]]] = {
            camera: deque() for camera in cameras
        }
        self._heard = dict.fromkeys(self._queues, -_SILENT)
        self._newest = newest
        self._capacity = capacity
        self._on_space = on_space
        self._window = window
        self._closed = True
        self.received = dict.fromkeys(self._queues, 0)
        self.dropped = dict.fromkeys(self._queues, 0)

    def put(self, camera: str, item: T, waits: Callable[[], float] = _complete) -> None:
        """Leave an item; `waits` tells for how many more seconds it is to wait for what belongs to
        it, 0 or less once it is complete. It is asked again after that time, and by `look_again`.
        """
        with self._condition:
            queue = self._queues[camera]
            self.received[camera] += 1
            self._heard[camera] = time.monotonic()
            if self._newest and len(queue) == _WAITING:
                self.dropped[camera] += 1
                queue.pop()  # not the oldest: its wait is nearly over
            queue.append((item, waits))
            self._drop_overtaken(camera)
            self._condition.notify()

    def look_again(self) -> None:
        """Have the items that wait be asked whether they are complete."""
        with self._condition:
            self._condition.notify()

    def full(self, camera: str) -> bool:
        """Tell whether a camera's queue has no room; the newest always has."""
        with self._condition:
            return not self._newest and len(self._queues[camera]) >= self._capacity

    def take(self) -> dict[str, T]:
        """Wait for a complete item and take it, by camera; with a window, one of every camera that
        has one within it. Empty once the frame_queue is closed.
        """
        taken: dict[str, T] = {}
        had_no_room = False
        with self._condition:
            while not (self._closed or taken):
                self._wait_for(lambda: bool(self._ready()), math.inf)
                if self._window:
                    self._wait_for(self._have_all, self._window)
                ready = [] if self._closed else self._ready()
                for camera in ready if self._window else ready[:1]:
                    had_no_room |= self.full(camera)
                    taken[camera], _ = self._queues[camera].popleft()
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

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until the condition holds, the time is over, or the queue is closed."""
        end = time.monotonic() + seconds
        while not (self._closed or condition()) and (left := end - time.monotonic()) > 0:
            wait = min([left, *self._waits()])
            self._condition.wait(wait if wait < math.inf else None)

    def _waits(self) -> list[float]:
        """Return for how many seconds the items that are not complete wait at most."""
        waits = [waits() for queue in self._queues.values() for _, waits in queue]
        return [max(seconds, 1e-3) for seconds in waits if seconds > 0]

    def _ready(self) -> list[str]:
        """Return the cameras whose first item is complete."""
        for camera in self._queues:
            self._drop_overtaken(camera)
        return [camera for camera, queue in self._queues.items() if queue and queue[0][1]() <= 0]

    def _drop_overtaken(self, camera: str) -> None:
        """Drop, by policy, what is older than the newest complete item."""
        queue = self._queues[camera]
        if self._newest and len(queue) > 1:
            complete = [number for number, (_, waits) in enumerate(queue) if waits() <= 0]
            for _ in range(max(complete, default=0)):
                queue.popleft()
                self.dropped[camera] += 1

    def _have_all(self) -> bool:
        """Tell whether every camera that is alive has an item that is complete."""
        now, ready = time.monotonic(), self._ready()
        return all(
            camera in ready or now - heard > _SILENT for camera, heard in self._heard.items()
        )
