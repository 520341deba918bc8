"""Between sensor_msgs/Image and NumPy, without a copy more than needed."""

from __future__ import annotations

import sys
from array import array

import cv2
import numpy as np
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError

# Channels of each supported encoding, and the OpenCV conversion to RGB (None: it is RGB).
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
}
_OUTPUT_TYPES = {'mono8': (np.uint8, 1), '16UC1': (np.uint16, 1), 'rgb8': (np.uint8, 3)}


def to_rgb(message: Image) -> np.ndarray:
    """Return the (H, W, 3) uint8 RGB pixels of an image message; rows may be padded.

    Raises PdlError with one sentence for an unknown encoding or sizes that contradict each other.
    """
    if message.encoding not in _ENCODINGS:
        raise PdlError(
            f'Encoding {message.encoding!r} is not supported; supported are: '
            f'{", ".join(_ENCODINGS)}.'
        )
    channels, conversion = _ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise PdlError(
            f'The image is empty ({width}x{height}); look at what the camera driver publishes.'
        )
    row = width * channels
    if step < row:
        raise PdlError(
            f'The image has a step of {step} bytes, but a row of {width} {message.encoding} '
            'pixels takes '
            f'{row}; the publisher fills `step` wrongly.'
        )
    # The last row may come without its padding.
    needed = step * (height - 1) + row
    if len(message.data) < needed:
        raise PdlError(
            f'The image holds {len(message.data)} bytes, but {width}x{height} {message.encoding} '
            'with step '
            f'{step} takes {needed}; the message was cut short.'
        )
    data = np.frombuffer(message.data, np.uint8)
    pixels = np.lib.stride_tricks.as_strided(data, (height, width, channels), (step, channels, 1))
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)


class ImageWriter:
    """Fill image messages of one topic from one reused buffer.

    The buffer is an `array.array`: rclpy takes it as it is, while lists, arrays of NumPy and
    memoryviews are copied element by element. A message is therefore valid
    until the next one is made.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self._dtype, self._channels = _OUTPUT_TYPES[encoding]
        self._buffer = array('B')

    def fill(self, pixels: np.ndarray, header: Header) -> Image:
        """Return a message of (H, W) or (H, W, 3) pixels; values must fit the encoding's type."""
        height, width = pixels.shape[:2]
        step = width * self._channels * np.dtype(self._dtype).itemsize
        if len(self._buffer) != step * height:
            self._buffer = array('B', bytes(step * height))
        view = np.frombuffer(self._buffer, self._dtype).reshape(pixels.shape)
        np.copyto(view, pixels, casting='unsafe')
        return Image(
            header=header,
            height=height,
            width=width,
            encoding=self.encoding,
            step=step,
            is_bigendian=int(sys.byteorder == 'big'),
            data=self._buffer,
        )
