"""Read image files and label images, and find them in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pdl_ros.errors import PdlError
from pdl_ros.imaging.decoding import decode, is_deep_grey, is_turned, rgb_of, turned

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder in name order, without hidden ones.

    Systems leave files beside pictures that are none, such as `._name.jpg` where a Mac wrote.
    """
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not path.name.startswith('.')
            and path.is_file()
        )
    except OSError as error:
        raise PdlError(f'Folder {folder} cannot be read: {error.strerror}.') from None


def read_rgb(path: Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, turned the way that viewers show it.

    Raises PdlError for what is no image, is damaged, or was cut short.
    """
    image = _read(path)
    return turned(rgb_of(image), image)


def read_rgb_both(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image file as `read_rgb` does; return it as viewers show it, and as it is stored:
    the same array where its EXIF data do not ask for a turn.
    """
    image = _read(path)
    pixels = rgb_of(image)
    return turned(pixels, image), pixels


def read_samples(path: Path) -> np.ndarray:
    """Read an image file without a change of its samples, turned like `read_rgb`: a one-channel
    16-bit PNG is (H, W) uint16, anything else uint8.
    """
    image = _read(path)
    samples = turned(np.asarray(image), image)
    return samples.astype(np.uint16) if is_deep_grey(image) else samples


def is_shown_turned(path: Path) -> bool:
    """Tell whether a viewer turns or mirrors an image file, because its EXIF data ask for it."""
    return is_turned(_read(path))


def _read(path: Path) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {error.strerror}.') from None
    return decode(data, str(path))
