"""Stamps of messages, also from before 1970, which cameras do send and rclpy's Time refuses."""

from __future__ import annotations

from typing import Any


def nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds since 1970; negative before."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)
