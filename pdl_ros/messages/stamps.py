"""Stamps of messages, also from before 1970, which cameras do send and rclpy's Time refuses."""

from __future__ import annotations

import struct
from typing import Any

from pdl_ros.errors import PdlError

_START = 4  # bytes about the encoding or, in ROS 1, the number of the header


def nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces/Time in nanoseconds since 1970; negative before."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def stamp_of(raw: bytes, encoding: str = 'cdr') -> int:
    """Return the stamp of a serialized message that begins with a header, nanoseconds.

    encoding: `cdr`, of ROS 2, in either order of bytes, or `ros1`. Raises PdlError for a message
    that ends too early.
    """
    try:
        little = encoding == 'ros1' or raw[1] & 1
        sec, nanosec = struct.unpack_from('<iI' if little else '>iI', raw, _START)
    except (struct.error, IndexError):
        raise PdlError(f'The message ends after {len(raw)} bytes, before its stamp.') from None
    return int(sec) * 10**9 + int(nanosec)
