"""From sensor_msgs/CompressedImage to NumPy, trusting nothing that the message says of itself."""

from __future__ import annotations

import re
from typing import Any, Protocol

import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.imaging.decoding import JPEG, MAX_PIXELS, PNG, decode, grey_of, rgb_of
from pdl_ros.imaging.encodings import ENCODINGS, demosaic, refusal

_VIDEO = re.compile(r'h\.?26[345]|hevc|avc|av1|vp[89]|mpeg[124]|theora|ffmpeg', re.IGNORECASE)


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
    if not data.startswith((JPEG, PNG)):
        raise PdlError(_not_an_image(message.format, data))
    # A camera frame stays as the camera sent it, or it no longer fits its camera_info.
    try:
        image = decode(data, 'The compressed image', max_pixels)
        return demosaic(grey_of(image), pattern) if pattern else rgb_of(image)
    except MemoryError:
        raise MemoryError('The compressed image does not fit into memory.') from None


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
