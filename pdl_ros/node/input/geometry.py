"""The view of a camera that is segmented: cropped, turned, and written out at some size."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo

from pdl_ros.errors import PdlError, require
from pdl_ros.imaging.camera_model import DIRECTED_MODELS, image_size, to_image

MAX_EDGE = 16384
"""The longest edge of an output image, pixels."""
_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
# Pairs of distortion coefficients that are the (x, y) of a direction in the image: tangential
# (p2, p1), thin prism (s1, s3) and (s2, s4). All the others depend on the radius alone.
_DIRECTED = ((3, 2), (8, 10), (9, 11))
# A quarter turn clockwise, where y points down.
_QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class FrameGeometry:
    """What part of a frame is looked at, and which way up.

    roi: (x, y, width, height) in pixels of the frame as the camera sends it; None is all of it.
    rotate: degrees by which the picture is then turned clockwise. A camera that hangs upside down
    takes 180.
    """

    rotate: int = 0
    roi: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        require(
            self.rotate in (0, 90, 180, 270),
            f'rotate is {self.rotate}; it can be 0, 90, 180 or 270 (degrees clockwise).',
        )
        if self.roi is None:
            return
        require(
            len(self.roi) == 4 and min(self.roi) >= 0 and min(self.roi[2:]) > 0,
            f'roi is {list(self.roi)}; it must be x, y, width and height in pixels, with x and y 0 '
            'or more, width and height 1 or more.',
        )

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Return the view of an (H, W, ...) frame, contiguous; no copy where nothing is to be done.
        Raises PdlError when the roi reaches outside the frame.
        """
        x, y, width, height = self._window(pixels.shape[0], pixels.shape[1])
        pixels = pixels[y : y + height, x : x + width]
        if self.rotate:
            return cv2.rotate(pixels, _TURNS[self.rotate])
        return np.ascontiguousarray(pixels)

    def view_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) of the view of a frame; raise PdlError as `apply` does."""
        _, _, wide, high = self._window(height, width)
        return (wide, high) if self.rotate in (90, 270) else (high, wide)

    def camera_info_for(self, info: CameraInfo, output_size: tuple[int, int]) -> CameraInfo:
        """Return the calibration of the view at an output size (height, width), header included.

        info: that of the camera's frames. Its binning and roi are worked into K and P, and are 0 in
        the result. As in image_proc, cropping shifts the principal point and scaling multiplies it.
        A turned view is that of a camera turned about its optical axis: R and the tangential terms
        of D turn along, and so must the tf frame in which 3D points are wanted. Where nothing is
        to be done, `info` returns as it is; where it is not calibrated, only its size changes.
        Raises PdlError when the roi reaches outside the image, or the calibration has no size.
        """
        height, width = output_size
        calibrated = bool(info.k[0] or info.p[0])
        require(
            bool(info.width and info.height) or not calibrated,
            f'The camera_info has a calibration, but the size {info.width}x{info.height}; the '
            'camera driver must fill width and height.',
        )
        source = image_size(info)
        if source == output_size and self.view_size(*source) == source and not self.rotate:
            return info
        changed = CameraInfo(
            header=info.header,
            height=height,
            width=width,
            distortion_model=info.distortion_model,
            d=info.d,
            k=info.k,
            r=info.r,
            p=info.p,
        )
        if calibrated:
            to_output = self._to_view(*source, output_size) @ to_image(info)
            turn = np.linalg.matrix_power(_QUARTER, self.rotate // 90)
            self._transform(changed, to_output, turn)
        return changed

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        if self.roi is None:
            return 0, 0, width, height
        x, y, wide, high = self.roi
        require(
            x + wide <= width and y + high <= height,
            f'The roi of {wide}x{high} pixels at ({x}, {y}) reaches outside the {width}x{height} '
            'image.',
        )
        return self.roi

    def _to_view(self, height: int, width: int, output_size: tuple[int, int]) -> np.ndarray:
        """Return the (3, 3) map from pixels of a frame to pixels of the output."""
        x, y, wide, high = self._window(height, width)
        matrix = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
        for _ in range(self.rotate // 90):
            quarter = _QUARTER.copy()
            quarter[0, 2] = high - 1  # the lowest row becomes the leftmost column
            matrix = quarter @ matrix
            wide, high = high, wide
        return np.diag((output_size[1] / wide, output_size[0] / high, 1.0)) @ matrix

    @staticmethod
    def _transform(info: CameraInfo, pixels: np.ndarray, turn: np.ndarray) -> None:
        """Change K, R, P and D in place, for pixels that are mapped and a camera that is turned, by
        (3, 3) matrices. Adding 0.0 makes -0.0 a plain 0.0.
        """
        if info.k[0]:
            info.k = (pixels @ np.reshape(info.k, (3, 3)) @ turn.T).ravel() + 0.0
        if info.p[0]:
            projection = np.reshape(info.p, (3, 4))
            turned = np.column_stack((projection[:, :3] @ turn.T, projection[:, 3]))
            info.p = (pixels @ turned).ravel() + 0.0
        info.r = (turn @ np.reshape(info.r, (3, 3)) @ turn.T).ravel() + 0.0
        distortion = np.array(info.d)
        for pair in _DIRECTED:
            if info.distortion_model in DIRECTED_MODELS and max(pair) < len(distortion):
                distortion[list(pair)] = turn[:2, :2] @ distortion[list(pair)] + 0.0
        info.d = distortion.tolist()


def parse_output_size(text: str) -> str | tuple[int, int]:
    """Read `input`, `network` (returned as they are) or `640x480` (returned as (height, width)).

    Raises PdlError for anything else.
    """
    if text in ('input', 'network'):
        return text
    size = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if size is None or max(edges := (int(size[2]), int(size[1]))) > MAX_EDGE:
        raise PdlError(
            f'output_size is {text!r}; it can be input, network, or a width and height of at most '
            f'{MAX_EDGE} pixels like 640x480.'
        )
    return edges


def choose_output_size(
    choice: str | tuple[int, int], view: tuple[int, int], network: tuple[int, int]
) -> tuple[int, int]:
    """Return the (height, width) that a parsed output size means for a view of one size, which the
    network sees at another; both (height, width).
    """
    if isinstance(choice, tuple):
        return choice
    return {'input': view, 'network': network}[choice]
