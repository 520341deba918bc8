"""A box teacher: where the things of a picture are, by YOLOX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.errors import require
from pdl_ros.labels import LabelSet
from pdl_ros.teachers.description import BOXES
from pdl_ros.teachers.network import Teacher

MIN_SCORE = 0.3
OVERLAP = 0.6  # IoU from which two boxes of a class are one thing's
_STRIDES = (8, 16, 32)
_PART = 0.6  # of a picture's edges, in which small things are looked for
_EDGE = 3  # pixels


class Box(NamedTuple):
    """A box in pixels, its score 0..1, and the train ids of which the thing has one."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    class_ids: tuple[int, ...]


class BoxTeacher:
    """YOLOX, whose classes are those of a label set."""

    def __init__(self, teacher: Teacher, label_set: LabelSet) -> None:
        d = teacher.description
        require(d.kind == BOXES, f'{d.name} is no box teacher, but a {d.kind} one.')
        self._cells = _cells(d.size)
        expected = (1, len(self._cells), 5 + len(d.classes))
        require(
            teacher.output_shape == expected,
            f'The teacher {d.name} gives {list(teacher.output_shape)} instead of '
            f"{list(expected)}, YOLOX's rows for its size and classes.",
        )
        self._teacher = teacher
        self._targets = d.targets(label_set)
        self._known = np.array([bool(ids) for ids in self._targets])

    def __call__(self, rgb: np.ndarray) -> list[Box]:
        """Return the boxes of a (H, W, 3) uint8 picture that the label set has classes for.

        Small things are looked for in parts of the picture, enlarged.
        """
        found = self._look(rgb)
        height, width = (round(_PART * edge) for edge in rgb.shape[:2])
        for top in (0, rgb.shape[0] - height):
            for left in (0, rgb.shape[1] - width):
                part = rgb[top : top + height, left : left + width]
                whole = [b for b in self._look(part) if not _is_cut(b, top, left, part, rgb)]
                found += [
                    b._replace(x0=b.x0 + left, x1=b.x1 + left, y0=b.y0 + top, y1=b.y1 + top)
                    for b in whole
                ]
        return [
            box
            for ids in sorted({b.class_ids for b in found})
            for box in best_boxes([b for b in found if b.class_ids == ids], OVERLAP)
        ]

    def _look(self, rgb: np.ndarray) -> list[Box]:
        """Return the boxes of a picture as the network sees it, several of one thing among them."""
        rows = self._teacher(rgb)[0]
        scores = rows[:, 4:5] * rows[:, 5:]
        classes = scores.argmax(1)
        best = scores[np.arange(len(scores)), classes]
        kept = np.flatnonzero((best >= MIN_SCORE) & self._known[classes])
        x, y, stride = self._cells[kept].T
        scale = self._teacher.scale(rgb.shape)
        center = (rows[kept, :2] * stride[:, None] + np.stack([x, y], 1)) / scale
        half = np.exp(rows[kept, 2:4]) * stride[:, None] / (2 * scale)
        size = np.array([rgb.shape[1], rgb.shape[0]])
        low, high = np.clip(center - half, 0, size), np.clip(center + half, 0, size)
        corners = np.concatenate([low, high], 1).tolist()
        return [
            Box(x0, y0, x1, y1, float(best[k]), self._targets[classes[k]])
            for k, (x0, y0, x1, y1) in zip(kept, corners, strict=True)
            if x1 > x0 and y1 > y0
        ]


def best_boxes(boxes: Sequence[Box], overlap: float) -> list[Box]:
    """Return the best of boxes that overlap by more than this IoU, as they are of one thing."""
    if not boxes:
        return []
    corners = [(b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0) for b in boxes]
    kept = cv2.dnn.NMSBoxes(corners, [b.score for b in boxes], 0.0, overlap)
    return [boxes[int(i)] for i in np.asarray(kept).ravel()]


def _is_cut(box: Box, top: int, left: int, part: np.ndarray, rgb: np.ndarray) -> bool:
    """Tell whether a box in a part of a picture touches an edge that is none of the picture's."""
    height, width = part.shape[:2]
    return (
        (box.x0 < _EDGE and left > 0)
        or (box.y0 < _EDGE and top > 0)
        or (box.x1 > width - _EDGE and left + width < rgb.shape[1])
        or (box.y1 > height - _EDGE and top + height < rgb.shape[0])
    )


def _cells(size: tuple[int, int]) -> np.ndarray:
    """Return x, y and stride, in pixels of the input, of each row of YOLOX's output."""
    rows = []
    for stride in _STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride] * stride
        rows.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], 1))
    return np.concatenate(rows).astype(np.float32)
