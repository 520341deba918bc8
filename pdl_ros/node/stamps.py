"""The age of stamps by the node's clock."""

from __future__ import annotations

from typing import Any

from rclpy.clock import Clock

from pdl_ros.messages.stamps import nanoseconds


def seconds_since(stamp: Any, clock: Clock) -> float:
    """Return the age of a stamp by a clock, seconds; negative when it is ahead of the clock."""
    return (clock.now().nanoseconds - nanoseconds(stamp)) / 1e9
