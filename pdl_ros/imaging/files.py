"""Read and write image files and label images, and find them in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pdl_ros.errors import PdlError, require
from pdl_ros.imaging.decoding import decode, is_deep_grey, is_turned, rgb_of, turned
from pdl_ros.runtime.files import atomic_write

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_LONGEST = {'.jpg': 65_500, '.png': 1_000_000}  # pixels of a side that the libraries write


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


def write_image(path: Path, pixels: np.ndarray, quality: int = 95) -> None:
    """Write an image as `encode_image` makes it, whole or not at all."""
    content = encode_image(path.suffix, pixels, str(path), quality)
    with atomic_write(path) as file:
        file.write(content)


def encode_image(suffix: str, pixels: np.ndarray, name: str, quality: int = 95) -> bytes:
    """Return (H, W, 3) uint8 RGB, or (H, W) uint8 or uint16, as the content of a `.png` or, of a
    quality, a `.jpg`.

    Raises PdlError, which begins with `name`, where the image is longer than the format allows.
    """
    import cv2  # not above: commands that find no picture say so before it is imported

    height, width = pixels.shape[:2]
    longest = _LONGEST[suffix]
    other = ', or a .png' if suffix == '.jpg' else ''
    # OpenCV would return nothing, and print to the terminal why.
    require(
        max(height, width) <= longest,
        f'{name} would be {width}x{height} pixels, and a {suffix} has at most {longest} a side; '
        f'ask for a smaller picture{other}.',
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == '.jpg' else []
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return bytes(cv2.imencode(suffix, bgr, options)[1].tobytes())


def is_shown_turned(path: Path) -> bool:
    """Tell whether a viewer turns or mirrors an image file, because its EXIF data ask for it."""
    return is_turned(_read(path))


def _read(path: Path) -> Image.Image:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {error.strerror}.') from None
    return decode(data, str(path))
