"""The executor of the node: one thread, and one more while a transition works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException


class NodeExecutor(SingleThreadedExecutor):
    """Run callbacks in the spinning thread, except those of entities that are `slow`.

    rclpy's MultiThreadedExecutor turns round several times for every image while a callback waits
    for its thread (docs/decisions.md has what that costs).
    """

    def __init__(self, slow: Callable[[Any], bool]) -> None:
        super().__init__()
        self._slow = slow
        # One that stays: what one thread leaves in memory is not always reused by the next.
        self._aside = ThreadPoolExecutor(1, 'transition')

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, and run it or have it run."""
        entity: Any
        try:
            handler, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ShutdownException, TimeoutException):
            return
        if self._slow(entity):
            self._aside.submit(handler)
            return
        handler()
        if (error := handler.exception()) is not None:
            raise error
