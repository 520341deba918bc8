"""Messages of label images to NumPy: the numbers in them, not a picture."""

from __future__ import annotations

import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.imaging.compressed import CompressedPicture
from pdl_ros.imaging.decoding import MAX_PIXELS, PNG, check_size, decode, is_deep_grey
from pdl_ros.imaging.encodings import Plane
from pdl_ros.imaging.raw import RawImage, planes_of

_TYPES = {
    'mono8': np.uint8,
    '8UC1': np.uint8,
    'mono16': np.uint16,
    '16UC1': np.uint16,
    '32SC1': np.int32,
}


def to_labels(message: RawImage, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the (H, W) uint8, uint16 or int32 numbers of a label image; rows may be padded.

    The result is a view of the message's data where that lies as this machine would write it.
    Raises PdlError for an encoding that carries no labels, for more than `max_pixels` pixels, and
    for sizes that contradict each other.
    """
    kind = _TYPES.get(message.encoding)
    if kind is None:
        raise PdlError(
            f'Encoding {message.encoding[:40]!r} carries no labels; label images are '
            f'{", ".join(_TYPES)}.'
        )
    if message.height and message.width:  # an empty one has a sentence of its own
        check_size(message.width, message.height, 'The label image', max_pixels)
    dtype = np.dtype(kind)
    (plane,) = planes_of(message, [Plane(dtype.itemsize)])
    order = dtype.newbyteorder('>' if message.is_bigendian else '<')
    return np.ascontiguousarray(plane).view(order)[..., 0].astype(dtype, copy=False)


def compressed_to_labels(message: CompressedPicture, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the (H, W) uint8 or uint16 numbers of a label image that was packed as PNG.

    Raises PdlError for anything else: a JPEG has changed the numbers.
    """
    return png_to_labels(bytes(message.data), 'The label image', max_pixels)


def png_to_labels(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the (H, W) uint8 or uint16 numbers in a PNG file; `name` begins the sentences."""
    if not data.startswith(PNG):
        raise PdlError(f'{name} is no PNG; other kinds of pictures do not keep labels exactly.')
    image = decode(data, name, max_pixels)
    if is_deep_grey(image):
        return np.asarray(image).astype(np.uint16)
    if image.mode not in ('L', 'P'):
        raise PdlError(f'{name} has colours; labels are numbers in one channel.')
    return np.asarray(image)
