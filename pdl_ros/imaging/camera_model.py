"""What a CameraInfo says of its camera: sizes, and the ray of each pixel."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from pdl_ros.errors import PdlError

DIRECTED_MODELS = ('plumb_bob', 'rational_polynomial')
"""Models with tangential terms."""
_PRECISELY = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-9)
_STEEPEST = 1e3  # metres aside in a metre forward


class Pinhole(NamedTuple):
    """Focal lengths and principal point of a rectified image, pixels."""

    fx: float
    fy: float
    cx: float
    cy: float


def is_rectified(info: Any) -> bool:
    """Tell whether an image that comes with a calibration is to be taken as rectified.

    As everywhere in ROS it is, by P, although D is that of the lens. Not so where there is no P, or
    where a fisheye's is its K, which no rectification leads to: the driver has only copied it.
    """
    if not any(info.d) and info.distortion_model != 'equidistant':
        return True
    k, p = np.reshape(info.k, (3, 3)), np.reshape(info.p, (3, 4))
    if not p[0, 0]:
        return not k[0, 0]
    return info.distortion_model != 'equidistant' or not np.allclose(p[:, :3], k)


def pinhole(info: Any) -> Pinhole:
    """Return the intrinsics of the image that a CameraInfo comes with, from P, or K where P is 0;
    binning and roi are worked in. Raises PdlError when it is not calibrated.
    """
    matrix = np.reshape(info.p, (3, 4))[:, :3] if info.p[0] else np.reshape(info.k, (3, 3))
    if not (matrix[0, 0] and matrix[1, 1]):
        raise PdlError('The camera_info is not calibrated (its K and P are 0); calibrate first.')
    matrix = to_image(info) @ matrix
    return Pinhole(matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])


def rays(info: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return how far the ray of each pixel of an image goes to the right and down in a metre
    forward: float32, (W,) and (H, 1) of a rectified image, both (H, W) of one that is not.

    NaN where the lens model has no ray before the camera. Raises PdlError when the camera is not
    calibrated, or its model is not known.
    """
    height, width = image_size(info)
    if is_rectified(info):
        camera = pinhole(info)
        across = (np.arange(width) - camera.cx) / camera.fx
        down = (np.arange(height) - camera.cy) / camera.fy
        return across.astype(np.float32), down.astype(np.float32)[:, None]
    found = _rays_of_lens(info, to_image(info) @ np.reshape(info.k, (3, 3)))
    across, down = np.moveaxis(found.reshape(height, width, 2).astype(np.float32), 2, 0)
    return across, down


def _rays_of_lens(info: Any, matrix: np.ndarray) -> np.ndarray:
    """Return (H * W, 2) rays, by OpenCV; NaN where they do not lead back to their pixel."""
    height, width = image_size(info)
    model, d = info.distortion_model, np.array(info.d, np.float64)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2)
    pixels = pixels.astype(np.float64)
    project: Any = cv2.projectPoints
    if model == 'equidistant' and len(d) in (0, 4):
        d = d if len(d) else np.zeros(4)
        found, project = cv2.fisheye.undistortPoints(pixels, matrix, d), cv2.fisheye.projectPoints
    elif model in DIRECTED_MODELS and len(d) in (4, 5, 8, 12, 14):
        eye = np.eye(3)
        found = cv2.undistortPointsIter(pixels, matrix, d, eye, eye, _PRECISELY)
    else:
        raise PdlError(
            f'The camera_info has no P, and a distortion model {model[:40]!r} with {len(d)} '
            'coefficients that is not known; rectify the image, or fill P.'
        )
    # Not before the camera, or where the model turns back on itself.
    found[~(np.abs(found) < _STEEPEST).all(2)] = np.nan
    ahead = np.concatenate((found, np.ones_like(found[..., :1])), -1)
    seen, _ = project(ahead, np.zeros(3), np.zeros(3), matrix, d)
    found[~(np.abs(seen.reshape(pixels.shape) - pixels) < 0.1).all(2)] = np.nan
    return found


def image_size(info: Any) -> tuple[int, int]:
    """Return the (height, width) of the image that a CameraInfo comes with: binned, its roi."""
    return (
        (info.roi.height or info.height) // max(info.binning_y, 1),
        (info.roi.width or info.width) // max(info.binning_x, 1),
    )


def to_image(info: Any) -> np.ndarray:
    """Return the (3, 3) map from pixels of the full sensor to pixels of the image."""
    x, y = 1 / max(info.binning_x, 1), 1 / max(info.binning_y, 1)
    return np.array(
        [[x, 0.0, -info.roi.x_offset * x], [0.0, y, -info.roi.y_offset * y], [0.0, 0.0, 1.0]]
    )
