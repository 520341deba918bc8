"""A box teacher: where the things of a picture are, by YOLOX."""

from __future__ import annotations

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
        """Return the boxes of a (H, W, 3) uint8 picture that the label set has classes for."""
        rows = self._teacher(rgb)[0]
        scores = rows[:, 4:5] * rows[:, 5:]
        classes = scores.argmax(1)
        best = scores[np.arange(len(scores)), classes]
        kept = np.flatnonzero((best >= MIN_SCORE) & self._known[classes])
        x, y, stride = self._cells[kept].T
        center = rows[kept, :2] * stride[:, None] + np.stack([x, y], 1)
        size = np.exp(rows[kept, 2:4]) * stride[:, None]
        factor = rgb.shape[0] / self._teacher.place(rgb.shape)[0]
        corners = np.concatenate([center - size / 2, size], 1) * factor
        chosen = cv2.dnn.NMSBoxesBatched(
            corners.tolist(), best[kept].tolist(), classes[kept].tolist(), MIN_SCORE, OVERLAP
        )
        found = []
        for i in np.asarray(chosen, int).ravel():
            left, top, width, height = corners[i]
            x0, y0 = max(left, 0.0), max(top, 0.0)
            x1, y1 = min(left + width, rgb.shape[1]), min(top + height, rgb.shape[0])
            if x1 > x0 and y1 > y0:
                ids = self._targets[classes[kept[i]]]
                found.append(Box(x0, y0, x1, y1, float(best[kept[i]]), ids))
        return found


def _cells(size: tuple[int, int]) -> np.ndarray:
    """Return x, y and stride, in pixels of the input, of each row of YOLOX's output."""
    rows = []
    for stride in _STRIDES:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride] * stride
        rows.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], 1))
    return np.concatenate(rows).astype(np.float32)
