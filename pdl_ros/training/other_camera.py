"""What another camera would have made of a picture: its white balance and gamma, its blur, noise
and compression. Networks are trained on few cameras and meet others.
"""

from __future__ import annotations

import math

import cv2
import numpy as np


def other_camera(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an (H, W, 3) uint8 RGB image as another camera would have taken it; each of its faults
    is there in half of the pictures. Nothing moves, so labels stay true.
    """
    seen = image.astype(np.float32)
    if rng.random() < 0.5:
        seen = _blurred(seen, rng)
    if rng.random() < 0.5:
        light = rng.uniform(0.87, 1.15, 3).astype(np.float32)
        seen = 255 * (seen * light / 255).clip(0, 1) ** np.float32(math.exp(rng.uniform(-0.4, 0.4)))
    if rng.random() < 0.5:
        seen = seen + rng.normal(0, rng.uniform(1, 8), seen.shape).astype(np.float32)
    taken = seen.round().clip(0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(20, 80))
        _, data = cv2.imencode('.jpg', taken[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        taken = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return np.ascontiguousarray(taken)


def _blurred(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an image that is out of focus or, more rarely, that the camera's motion smeared."""
    if rng.random() < 0.7:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5))
    length = rng.uniform(2, 9)
    size = 2 * math.ceil(length / 2) + 1
    kernel = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, math.pi)
    reach = np.array((math.cos(angle), math.sin(angle))) * length / 2 * 16
    start, end = (tuple(int(v) for v in size // 2 * 16 + way * reach) for way in (-1, 1))
    cv2.line(kernel, start, end, (255,), 1, cv2.LINE_AA, 4)
    weights = kernel.astype(np.float32)
    return cv2.filter2D(image, -1, weights / weights.sum(), borderType=cv2.BORDER_REPLICATE)
