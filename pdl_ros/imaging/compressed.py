"""From sensor_msgs/CompressedImage to NumPy, trusting nothing that the message says of itself."""

from __future__ import annotations

import re
from typing import Any, Protocol

import cv2
import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.imaging.encodings import ENCODINGS, demosaic, refusal

MAX_PIXELS = 1 << 26
"""Images of more pixels are not decoded: 8192x8192 of them take 200 MB, from a file of any size."""

_JPEG, _PNG = b'\xff\xd8', b'\x89PNG\r\n\x1a\n'
_VIDEO = re.compile(r'h\.?26[345]|hevc|avc|av1|vp[89]|mpeg[124]|theora|ffmpeg', re.IGNORECASE)
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of every JPEG process
_SCAN = 0xDA


class CompressedPicture(Protocol):
    """The fields of a sensor_msgs/CompressedImage that are read."""

    @property
    def format(self) -> str: ...
    @property
    def data(self) -> Any: ...


def compressed_to_rgb(message: CompressedPicture, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a JPEG or PNG message to (H, W, 3) uint8 RGB.

    `format` may be that of image_transport (`rgb8; jpeg compressed bgr8`), a driver's short word
    (`jpeg`, `png`) or nothing: which of the two it is, and the order of its channels, is what the
    file says. Of 16 bits the upper 8 are kept, transparency is dropped, a mark that a viewer should
    rotate the picture is ignored. Raises PdlError for anything else, for more than `max_pixels`
    pixels, before memory is taken for them, and for a file that was cut short.
    """
    pattern = _mosaic(message.format)
    data = bytes(message.data)
    if data.startswith(_PNG):
        height, width = _png_size(data)
    elif data.startswith(_JPEG):
        height, width = _jpeg_size(data)
    else:
        raise PdlError(_not_an_image(message.format, data))
    if not 0 < height * width <= max_pixels:
        raise PdlError(
            f'The compressed image says that it is {width}x{height}; it must have 1 to '
            f'{max_pixels} pixels.'
        )
    flags = cv2.IMREAD_GRAYSCALE if pattern else cv2.IMREAD_COLOR
    try:
        # A camera frame stays as the camera sent it, or it no longer fits its camera_info.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(
                f'The compressed image, {width}x{height} pixels, does not fit into memory.'
            ) from None
        pixels = None
    if pixels is None or pixels.shape[:2] != (height, width):
        raise PdlError('The compressed image is damaged and cannot be decoded.')
    if pattern:
        return demosaic(pixels, pattern)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels)


def _mosaic(text: str) -> str:
    """Return the Bayer pattern of the file's pixels, '' where they are a picture already.

    Raises PdlError when the format announces something that is no picture.
    """
    if 'compressedDepth' in text:
        raise PdlError(
            'The compressed image is a depth image (compressedDepth), not a picture; look at which '
            'topic is remapped to image/compressed.'
        )
    original, _, rest = (part.strip() for part in text.partition(';'))
    if not re.match(r'(jpeg|png|tiff) compressed\b', rest):
        return ''
    if original not in ENCODINGS and re.fullmatch(r'\d+[USF]C\d+', original):
        raise PdlError(refusal(original))
    # After `compressed` comes what the camera's pixels were turned into first. Where nothing comes,
    # a mosaic stayed a mosaic.
    bayer = re.fullmatch(r'bayer_(rggb|bggr|gbrg|grbg)(8|16)', original)
    return bayer[1] if bayer and rest.endswith('compressed') else ''


def _not_an_image(text: str, data: bytes) -> str:
    if _VIDEO.search(text):
        return (
            f'Format {text[:40]!r} is video, of which one message alone is no picture; let '
            'image_transport republish it as raw.'
        )
    return (
        f'The compressed image (format {text[:40]!r}, {len(data)} bytes) is neither JPEG nor PNG; '
        'set the publisher to one of these.'
    )


def _png_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG file, after a walk over all of its chunks."""
    position, size = len(_PNG), (0, 0)
    while position + 12 <= len(data):
        length, kind = _number(data, position, 4), data[position + 4 : position + 8]
        if (position == len(_PNG)) != (kind == b'IHDR'):
            raise PdlError('The compressed image is a PNG file without a proper header.')
        if kind == b'IHDR':
            size = _number(data, position + 12, 4), _number(data, position + 8, 4)
        if kind == b'acTL':
            # Its frames have sizes of their own.
            raise PdlError('The compressed image is an animated PNG file, not one picture.')
        position += 12 + length
        if kind == b'IEND' and position <= len(data):
            return size
    raise PdlError(f'The compressed image ends in the middle of a PNG file ({len(data)} bytes).')


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) of a JPEG file, after a walk to its first scan and a look for its end.

    What a decoder would skip or guess at is refused, so that it sees the same size.
    """
    position, size = len(_JPEG), None
    while position + 4 <= len(data):
        kind, length = data[position + 1], _number(data, position + 2, 2)
        if data[position] == 0xFF and kind == 0xFF:  # filling
            position += 1
            continue
        unknown = data[position] != 0xFF or kind < 0xC0 or 0xD0 <= kind <= 0xD9
        if unknown or length < 2 or (kind in _SIZES and size):
            raise PdlError('The compressed image is a JPEG file with a damaged header.')
        if kind in _SIZES and position + 9 <= len(data):
            size = _number(data, position + 5, 2), _number(data, position + 7, 2)
        if kind == _SCAN and size:
            if data.find(b'\xff\xd9', position) < 0:
                break  # a decoder would fill the rest with grey
            return size
        position += 2 + length
    raise PdlError(f'The compressed image ends in the middle of a JPEG file ({len(data)} bytes).')


def _number(data: bytes, position: int, size: int) -> int:
    return int.from_bytes(data[position : position + size], 'big')
