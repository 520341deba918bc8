"""Between sensor_msgs/Image and NumPy, without a copy more than needed."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.node.compressed import compressed_to_rgb
from pdl_ros.node.encodings import ENCODINGS, Plane, refusal

__all__ = ['ImageWriter', 'PngWriter', 'compressed_to_rgb', 'planes_of', 'to_rgb']

_OUTPUT_TYPES = {
    'mono8': (np.uint8, 1),
    '16UC1': (np.uint16, 1),
    '32SC1': (np.int32, 1),
    'rgb8': (np.uint8, 3),
}


def to_rgb(message: Image) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an image message; rows may be padded.

    16-bit samples are cut to their upper byte. The result of an unpadded rgb8 message is a view of
    its data, so it must not be written to. Raises PdlError with one sentence for an encoding that
    is not in `ENCODINGS`, and for sizes that contradict each other; no memory is taken before they
    are checked.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        raise PdlError(refusal(message.encoding))
    height, width = message.height, message.width
    if (encoding.even[0] and height % 2) or (encoding.even[1] and width % 2):
        wanted = 'width and height' if encoding.even[0] else 'a width'
        raise PdlError(
            f'The image is {width}x{height}, but {message.encoding} stores one colour for '
            f'neighbouring pixels and takes {wanted} of even size.'
        )
    return encoding.rgb(planes_of(message, encoding.planes), bool(message.is_bigendian))


def planes_of(message: Image, planes: Sequence[Plane]) -> list[np.ndarray]:
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


class ImageWriter:
    """Fill the image messages of one topic, which are one message filled again and again.

    Its data is an `array.array`, which rclpy sends as it is, while lists, arrays of NumPy and
    memoryviews are copied element by element. It is filled in place, because the setter of Jazzy's
    messages copies even an `array.array`. So a message is valid until the next one is made.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._dtype, self._channels = _OUTPUT_TYPES[encoding]
        self._message = Image(encoding=encoding, is_bigendian=int(sys.byteorder == 'big'))

    def fill(self, pixels: np.ndarray, header: Header) -> Image:
        """Return a message of (H, W) or (H, W, 3) pixels; values must fit the encoding's type."""
        message, view = self.blank(pixels.shape[0], pixels.shape[1], header)
        np.copyto(view, pixels, casting='unsafe')
        return message

    def blank(self, height: int, width: int, header: Header) -> tuple[Image, np.ndarray]:
        """Return a message of a size, and its (H, W) or (H, W, 3) pixels, to be written."""
        message = self._message
        message.header, message.height, message.width = header, height, width
        message.step = width * self._channels * np.dtype(self._dtype).itemsize
        size = message.step * height
        if len(message.data) != size:
            message.data = array('B', bytes(size))
        shape = (height, width, self._channels)[: 2 + (self._channels > 1)]
        return message, np.frombuffer(message.data, self._dtype).reshape(shape)


class PngWriter:
    """Make the PNG messages of a topic of label images, as compressed_image_transport would.

    encoding: `mono8` or `16UC1`; PNG has no samples of 32 bits. The pixels come back exactly.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._dtype, _ = _OUTPUT_TYPES[encoding]
        self._format = f'{encoding}; png compressed '

    def fill(self, pixels: np.ndarray, header: Header) -> CompressedImage:
        """Return a message of (H, W) pixels; values must fit the encoding's type."""
        # OpenCV's own settings: level 1 by name takes three times as long (22 and 7 ms for a
        # panoptic image of 2048x1024) and the file is no smaller.
        _, data = cv2.imencode('.png', pixels.astype(self._dtype, copy=False))
        return CompressedImage(header=header, format=self._format, data=array('B', data.tobytes()))
