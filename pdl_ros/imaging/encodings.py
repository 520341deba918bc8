"""The image encodings a camera may use: where their bytes lie, and how they become RGB."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.errors import PdlError

_Convert = Callable[[Sequence[np.ndarray]], np.ndarray]


class Plane(NamedTuple):
    """One plane of an image: `pixel` bytes for each pixel of the image's width, in image height /
    `thinning` rows that lie `steps` steps apart.
    """

    pixel: int
    thinning: int = 1
    steps: int = 1


class Encoding(NamedTuple):
    """Planes, and the conversion of their (rows, W, pixel) uint8 views to (H, W, 3) uint8 RGB.

    deep: samples of 16 bits. Of each, the conversion gets the upper byte, in `pixel` / 2 channels.
    even: (height, width) must be even, because neighbours share their colour.
    """

    planes: tuple[Plane, ...]
    convert: _Convert
    deep: bool = False
    even: tuple[bool, bool] = (False, False)

    def rgb(self, planes: Sequence[np.ndarray], big_endian: bool) -> np.ndarray:
        """Convert (rows, W, pixel) uint8 views of the planes to (H, W, 3) uint8 RGB, contiguous.

        16-bit samples lose their lower byte (`>> 8`), so a 12-bit sensor must fill the upper bits.
        """
        if self.deep:
            # The upper byte is where the byte order says; nothing is ever swapped.
            planes = [
                np.ascontiguousarray(plane[..., 0 if big_endian else 1 :: 2]) for plane in planes
            ]
        return self.convert(planes)


def refusal(encoding: str) -> str:
    """Return the sentence that says why an encoding is not read as a picture."""
    name = repr(encoding[:40])
    if re.fullmatch(r'(16|32)[US]C1|(32|64)FC1', encoding):
        return (
            f'Encoding {name} carries depth or labels, whose values are no brightness; a camera '
            'with 16-bit grey publishes mono16.'
        )
    return f'Encoding {name} is not supported; supported are: {", ".join(ENCODINGS)}.'


def demosaic(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Interpolate a (H, W) uint8 Bayer mosaic bilinearly to (H, W, 3) RGB.

    pattern: the colours of the top left 2x2 pixels, `rggb` and the like; the outermost pixels
    repeat their inner neighbours. Raises PdlError below 3x3 pixels.
    """
    if min(mosaic.shape[:2]) < 3:
        # OpenCV would answer in black.
        raise PdlError(
            f'A Bayer image of {mosaic.shape[1]}x{mosaic.shape[0]} pixels has no colours to '
            'interpolate; it takes 3x3 at least.'
        )
    return cv2.cvtColor(mosaic, _BAYER[pattern])


def _by_opencv(code: int) -> _Convert:
    return lambda planes: cv2.cvtColor(planes[0], code)


def _rgb(planes: Sequence[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(planes[0])


def _bayer(pattern: str) -> _Convert:
    return lambda planes: demosaic(planes[0][..., 0], pattern)


def _two_planes(code: int) -> _Convert:
    def convert(planes: Sequence[np.ndarray]) -> np.ndarray:
        luma, chroma = planes[0][..., 0], planes[1][..., 0]
        return cv2.cvtColorTwoPlane(luma, chroma.reshape(len(chroma), -1, 2), code)

    return convert


def _nv24(planes: Sequence[np.ndarray]) -> np.ndarray:
    # OpenCV has no code for it. As YUYV of double width, in which both pixels of a pair are the
    # same, it gets exactly the arithmetic of the other YUV encodings.
    height, width = planes[0].shape[:2]
    doubled = np.empty((height, width, 4), np.uint8)
    cv2.mixChannels(list(planes), [doubled], [0, 0, 1, 1, 0, 2, 2, 3])
    rgb = cv2.cvtColor(doubled.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_YUY2)
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_NEAREST)  # every second pixel


# ROS names a pattern by the first two rows, OpenCV by the second and third pixel of the second
# row: rggb is OpenCV's BG.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_COLORS: dict[str, tuple[int, _Convert]] = {
    'rgb': (3, _rgb),
    'bgr': (3, _by_opencv(cv2.COLOR_BGR2RGB)),
    'rgba': (4, _by_opencv(cv2.COLOR_RGBA2RGB)),
    'bgra': (4, _by_opencv(cv2.COLOR_BGRA2RGB)),
    'mono': (1, _by_opencv(cv2.COLOR_GRAY2RGB)),
    **{f'bayer_{pattern}': (1, _bayer(pattern)) for pattern in _BAYER},
}
_UYVY = Encoding((Plane(2),), _by_opencv(cv2.COLOR_YUV2RGB_UYVY), even=(False, True))
_YUYV = Encoding((Plane(2),), _by_opencv(cv2.COLOR_YUV2RGB_YUY2), even=(False, True))
_SEMI_PLANAR = (Plane(1), Plane(1, thinning=2))

ENCODINGS: dict[str, Encoding] = {
    **{f'{name}8': Encoding((Plane(n),), convert) for name, (n, convert) in _COLORS.items()},
    **{
        f'{name}16': Encoding((Plane(2 * n),), convert, deep=True)
        for name, (n, convert) in _COLORS.items()
    },
    # YUV of 8 bits is BT.601 with luma from 16 to 235, which is what OpenCV reads.
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': Encoding(_SEMI_PLANAR, _two_planes(cv2.COLOR_YUV2RGB_NV12), even=(True, True)),
    'nv21': Encoding(_SEMI_PLANAR, _two_planes(cv2.COLOR_YUV2RGB_NV21), even=(True, True)),
    # Two bytes of colour for each pixel, so a row of them is two steps long.
    'nv24': Encoding((Plane(1), Plane(2, steps=2)), _nv24),
    # The names that cv_bridge gives OpenCV's arrays when it is not told what they are. Their
    # channels are in OpenCV's order, and RViz shows them so.
    '8UC1': Encoding((Plane(1),), _COLORS['mono'][1]),
    '8UC3': Encoding((Plane(3),), _COLORS['bgr'][1]),
    '8UC4': Encoding((Plane(4),), _COLORS['bgra'][1]),
}
"""All that `to_rgb` reads, by their name in sensor_msgs/Image."""
