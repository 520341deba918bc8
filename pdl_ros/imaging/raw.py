"""Raw images, read where they lie in their message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.imaging.decoding import MAX_PIXELS, check_size
from pdl_ros.imaging.encodings import ENCODINGS, Plane, refusal


class RawImage(Protocol):
    """The fields of a sensor_msgs/Image that are read, whoever made the message: rclpy, a bag
    reader, or `node.input.serialized_image`.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_bigendian(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def data(self) -> Any: ...


def to_rgb(message: RawImage, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an image message; rows may be padded.

    16-bit samples are cut to their upper byte. The result of an unpadded rgb8 message is a view of
    its data, so it must not be written to. Raises PdlError with one sentence for an encoding that
    is not in `ENCODINGS`, for more than `max_pixels` pixels, and for sizes that contradict each
    other; no memory is taken before they are checked.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise PdlError(refusal(message.encoding))
    height, width = message.height, message.width
    if height and width:  # an empty one has a sentence of its own
        check_size(width, height, 'The image', max_pixels)
    if (encoding.even[0] and height % 2) or (encoding.even[1] and width % 2):
        wanted = 'width and height' if encoding.even[0] else 'a width'
        raise PdlError(
            f'The image is {width}x{height}, but {message.encoding} stores one colour for '
            f'neighbouring pixels and takes {wanted} of even size.'
        )
    return encoding.rgb(planes_of(message, encoding.planes), bool(message.is_bigendian))


def planes_of(message: RawImage, planes: Sequence[Plane]) -> list[np.ndarray]:
    """Return (rows, W, pixel) uint8 views of the planes that follow each other in a message.

    Raises PdlError when the image is empty, or `step` or the data too short for its size.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise PdlError(
            f'The image is empty ({width}x{height}); look at what the camera driver publishes.'
        )
    for plane in planes:
        row = width * plane.pixel
        if step * plane.steps < row:
            raise PdlError(
                f'The image has a step of {step} bytes, but a row of {width} {message.encoding} '
                f'pixels takes {row // plane.steps}; the publisher fills `step` wrongly.'
            )
    data = _bytes(message.data)
    starts, end = [], 0
    for plane in planes:
        starts.append(end)
        end += height // plane.thinning * plane.steps * step
    # The last row may come without its padding.
    needed = end - planes[-1].steps * step + width * planes[-1].pixel
    if len(data) < needed:
        raise PdlError(
            f'The image holds {len(data)} bytes, but {width}x{height} {message.encoding} with step '
            f'{step} takes {needed}; the message was cut short.'
        )
    return [
        np.ndarray(
            (height // plane.thinning, width, plane.pixel),
            np.uint8,
            data,
            start,
            (plane.steps * step, plane.pixel, 1),
        )
        for plane, start in zip(planes, starts, strict=True)
    ]


def _bytes(data: Any) -> np.ndarray:
    """Return the flat uint8 view of whatever holds a message's data: rclpy gives an `array.array`,
    bag readers a NumPy array.
    """
    return np.frombuffer(bytes(data) if isinstance(data, list | tuple) else data, np.uint8)
