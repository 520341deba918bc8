"""The pictures of a frame for a report: what the camera saw, the truth, and what was predicted."""

from __future__ import annotations

import cv2
import numpy as np

from pdl_ros.labels import LabelSet
from pdl_ros.visualization import colorize, overlay, to_width

_WIDTH = 480  # pixels of a picture


def draw(
    rgb: np.ndarray | None, truth: np.ndarray, predicted: np.ndarray, label_set: LabelSet
) -> dict[str, np.ndarray]:
    """Return small RGB pictures by what they show; without a picture the labels stand alone."""
    maps = {'truth': truth, 'prediction': predicted}
    if rgb is None:
        return {
            name: to_width(colorize(labels, label_set), _WIDTH) for name, labels in maps.items()
        }
    height, width = truth.shape
    if rgb.shape[:2] != truth.shape:
        rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    drawn = {
        name: to_width(overlay(rgb, labels.astype(np.int32), label_set), _WIDTH)
        for name, labels in maps.items()
    }
    return {'picture': to_width(rgb, _WIDTH), **drawn}
