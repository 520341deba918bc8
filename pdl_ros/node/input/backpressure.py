"""Messages that are left with DDS while there is no room for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup


class BackpressureGroup(MutuallyExclusiveCallbackGroup):
    """Leave messages with DDS while there is no room for them: its back-pressure reaches the
    publisher.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        super().__init__()
        self._has_room = has_room

    def can_execute(self, entity: Any) -> bool:
        return self._has_room() and super().can_execute(entity)

    def beginning_execution(self, entity: Any) -> bool:
        return self._has_room() and super().beginning_execution(entity)
