"""Serialized images, read where they lie."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError

_ORDERS = {b'\x00\x00': '>', b'\x00\x01': '<'}  # OMG CDR, version 1: big and little endian
_START = 4  # what is aligned is aligned from here
_FRAME_ID = 12  # after the stamp


class ImageView(NamedTuple):
    """The fields of a sensor_msgs/Image, its data in the memory of the serialized message."""

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


def view_image(raw: bytes) -> ImageView | Image:
    """Return what `deserialize_message` does, without its two copies of the data.

    Raises PdlError for a message that ends too early.
    """
    order = _ORDERS.get(raw[:2])
    if order is None:  # a newer CDR
        return deserialize_message(raw, Image)
    try:
        _, at = _string(raw, _FRAME_ID, order)
        header = deserialize_message(raw[:at], Header)
        height, width = _numbers(raw, at := _aligned(at), order, 2)
        encoding, at = _string(raw, at + 8, order)
        is_bigendian = raw[at]
        step, length = _numbers(raw, at := _aligned(at + 1), order, 2)
    except (struct.error, IndexError):
        raise PdlError(f'The message ends after {len(raw)} bytes, before its pixels.') from None
    data = memoryview(raw)[at + 8 : at + 8 + length]
    if len(data) < length:
        raise PdlError(
            f'The message ends after {len(raw)} bytes, but announces {length} bytes of pixels.'
        )
    return ImageView(header, height, width, encoding, is_bigendian, step, data)


def _numbers(raw: bytes, at: int, order: str, count: int) -> tuple[int, ...]:
    return struct.unpack_from(f'{order}{count}I', raw, at)


def _string(raw: bytes, at: int, order: str) -> tuple[str, int]:
    """Return a string and where it ends; its length counts the zero at its end."""
    (length,) = _numbers(raw, at := _aligned(at), order, 1)
    if at + 4 + length > len(raw):
        raise IndexError
    return raw[at + 4 : at + 3 + length].decode(errors='replace'), at + 4 + length


def _aligned(at: int) -> int:
    return at + (_START - at) % 4
