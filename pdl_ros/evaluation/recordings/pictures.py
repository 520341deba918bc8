"""The pictures of a frame for a report: what the camera saw, the truth, and what was predicted."""

from __future__ import annotations

import cv2
import numpy as np

from pdl_ros.labels import LabelSet
from pdl_ros.visualization import colorize, overlay

_WIDTH = 480  # pixels of a picture


def draw(
    rgb: np.ndarray | None, truth: np.ndarray, predicted: np.ndarray, label_set: LabelSet
) -> dict[str, np.ndarray]:
    """Return small RGB pictures by what they show; without a picture the labels stand alone."""
    maps = {'truth': truth, 'prediction': predicted}
    if rgb is None:
        return {name: _small(colorize(labels, label_set)) for name, labels in maps.items()}
    height, width = truth.shape
    if rgb.shape[:2] != truth.shape:
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    drawn = {
        name: _small(overlay(rgb, labels.astype(np.int32), label_set))
        for name, labels in maps.items()
    }
    return {'picture': _small(rgb), **drawn}


def _small(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(round(height * _WIDTH / width), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
