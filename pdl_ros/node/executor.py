"""The executor of the node: one thread, and one more while a transition works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rclpy.context import Context
from rclpy.executors import ShutdownException, SingleThreadedExecutor, TimeoutException

from pdl_ros.node.rclpy_compat import wait_for_callback


class NodeExecutor(SingleThreadedExecutor):
    """Run callbacks in the spinning thread, except those of entities that are `slow`.

    rclpy's MultiThreadedExecutor turns round several times for every image while a callback waits
    for its thread (docs/decisions.md has what that costs).
    """

    def __init__(self, slow: Callable[[Any], bool], context: Context | None = None) -> None:
        super().__init__(context=context)
        self._slow = slow
        # One that stays: what one thread leaves in memory is not always reused by the next.
        self._aside = ThreadPoolExecutor(1, 'transition')

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Wait for one callback, and run it or have it run."""
        try:
            handler, entity = wait_for_callback(self, timeout_sec)
        except (ShutdownException, TimeoutException):
            return
        if self._slow(entity):
            self._aside.submit(handler)
            return
        handler()
        if (error := handler.exception()) is not None:
            raise error

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Stop, without waiting for a transition."""
        self._aside.shutdown(wait=False)
        return bool(super().shutdown(timeout_sec))
