"""Read image files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pdl_ros.errors import PdlError

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB.

    Refuses a JPEG that stops early, which OpenCV would fill up with grey.
    """
    try:
        data = path.read_bytes()
        image = cv2.imread(str(path), cv2.IMREAD_COLOR) if data else None
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {error.strerror}.') from None
    except cv2.error:
        image = None
    if image is None:
        raise PdlError(
            f'{path} cannot be read as an image; it may be damaged or of an unsupported format.'
        )
    if _is_cut_jpeg(data):
        raise PdlError(f'{path} is damaged: the JPEG data stop before the end of the image.')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_cut_jpeg(data: bytes) -> bool:
    """Tell whether JPEG data lack their end marker; other formats never do."""
    if not data.startswith(b'\xff\xd8'):
        return False
    at = 2
    while (
        data[at : at + 1] == b'\xff' and data[at + 1 : at + 2] != b'\xda'
    ):  # headers, up to the scan
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return data.find(b'\xff\xd9', at) < 0  # a thumbnail in the headers has an end marker too
