"""Things of a frame in which no centre was found: their connected parts, in place of a grouping."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.labels import LabelSet


class Components(NamedTuple):
    """Connected parts of one class each, numbered in reading order of their first pixels.

    number: (H, W) int32, 1..K, 0 elsewhere. class_id: (K,) int64. area: (K,) int64 pixels. box: (K,
    4) int32 (x0, y0, x1, y1), exclusive. center: (K, 2) float32 (y, x), the mean of the pixels.
    """

    number: np.ndarray
    class_id: np.ndarray
    area: np.ndarray
    box: np.ndarray
    center: np.ndarray


def find_components(
    semantic: np.ndarray, label_set: LabelSet, smallest: int, most: int
) -> Components:
    """Return the 8-connected parts of the thing classes in a (H, W) uint8 map that have `smallest`
    pixels or more; of more than `most` the first ones.
    """
    parts = [p for c in label_set.thing_ids for p in _parts(semantic, c, max(smallest, 1))]
    found = sorted(parts, key=lambda part: part.first)[:most]
    index = np.zeros(semantic.shape, np.int32)
    for number, part in enumerate(found, 1):
        x0, y0, x1, y1 = part.box
        index[y0:y1, x0:x1][part.mask] = number
    count = len(found)
    return Components(
        index,
        np.array([part.class_id for part in found], np.int64),
        np.array([part.area for part in found], np.int64),
        np.array([part.box for part in found], np.int32).reshape(count, 4),
        np.array([part.center for part in found], np.float32).reshape(count, 2),
    )


class _Part(NamedTuple):
    """first: where its first pixel is, counted row by row. mask: (h, w) bool, within the box."""

    first: int
    class_id: int
    area: int
    box: tuple[int, int, int, int]
    center: tuple[float, float]
    mask: np.ndarray


def _parts(semantic: np.ndarray, class_id: int, smallest: int) -> list[_Part]:
    own = (semantic == class_id).view(np.uint8)
    if np.count_nonzero(own) < smallest:
        return []
    count, labels, stats, centers = cv2.connectedComponentsWithStats(own, connectivity=8)
    parts = []
    for label in range(1, count):  # 0 is the background
        x, y, width, height, area = stats[label].tolist()
        if area >= smallest:
            mask = labels[y : y + height, x : x + width] == label
            first = y * semantic.shape[1] + x + int(mask[0].argmax())
            middle = float(centers[label, 1]), float(centers[label, 0])
            parts.append(_Part(first, class_id, area, (x, y, x + width, y + height), middle, mask))
    return parts
