"""Foxglove's CompressedVideo as protobuf, which its own tools and bridges record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pdl_ros.bags.types import message_class

TYPE = 'foxglove.CompressedVideo'
_ROS2 = 'foxglove_msgs/msg/CompressedVideo'
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf


def deserialize_video(data: bytes) -> Any:
    """Return the message of ROS 2 with the same content. Raises ValueError for a damaged one.

    The schema, which is public, is not asked of the recording: 1 timestamp (1 seconds, 2 nanos),
    2 frame_id, 3 data, 4 format.
    """
    import numpy as np

    found = dict(_fields(data))
    time = dict(_fields(_bytes(found, 1)))
    stamp = message_class('builtin_interfaces/msg/Time')(
        _signed(int(time.get(1, 0))), int(time.get(2, 0)) & 0xFFFFFFFF
    )
    return message_class(_ROS2)(
        stamp,
        _bytes(found, 2).decode(errors='replace'),
        np.frombuffer(_bytes(found, 3), np.uint8),
        _bytes(found, 4).decode(errors='replace'),
    )


def _bytes(fields: dict[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b'')
    if not isinstance(value, bytes):
        raise ValueError(f'field {number} is a number')
    return value


def _signed(seconds: int) -> int:
    """Return an int64 that was written as an unsigned number, within what a stamp of ROS takes."""
    value = seconds - (1 << 64) if seconds >= 1 << 63 else seconds
    return min(max(value, -(1 << 31)), (1 << 31) - 1)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and content of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f'a field has the wire type {kind}')
        if size > len(data) - at:
            raise ValueError('it ends in the middle of a field')
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError('a number does not end')
