"""Things that the data join, split by boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.teachers.boxes import Box, best_boxes
from pdl_ros.teachers.labels import Labels
from pdl_ros.teachers.settings import LabelSettings

_MARGIN = 0.08  # of a box, by which its thing may stick out of it
_FRONT = 0.85  # what the distance to a box that is in front counts
_SAME = 0.65  # IoU from which two boxes, of whatever classes, are one thing's
_SMALLEST = 30  # pixels of an instance
_WITHIN = 0.85  # share of a box from which it lies in another
_INSIDE = 0.5  # what it has to fill then


class Split(NamedTuple):
    """What became of joined regions. boxes: those of the instances, by their numbers. regions: how
    many there were; doubtful: those of which nothing became an instance.
    """

    boxes: dict[int, Box]
    regions: int = 0
    doubtful: int = 0


def split(
    labels: Labels, boxes: Sequence[Box], members: Groups, things: Sequence[int],
    settings: LabelSettings,
) -> Split:  # fmt: skip
    """Make instances of crowds, and of instances of classes that are to be separated, where boxes
    tell them apart; the rest of both are crowds.

    things: classes of `members` that are things.
    """
    found, total, doubtful = dict[int, Box](), 0, 0
    for class_id in things:
        of_class = labels.classes == class_id
        ids = set(members[class_id])
        if not ids <= set(settings.separate):
            of_class &= labels.numbers == 0
        if not of_class.any():
            continue
        labels.numbers[of_class] = 0
        fitting = best_boxes([b for b in boxes if ids.intersection(b.class_ids)], _SAME)
        fitting = _that_fit(of_class, fitting, settings)
        owner, regions, explained = _split_mask(of_class, fitting, settings)
        first = int(labels.numbers.max()) + 1
        for number, index in enumerate(np.unique(owner[owner >= 0]), first):
            labels.numbers[owner == index] = number
            found[number] = fitting[index]
        total, doubtful = total + regions, doubtful + regions - explained
    return Split(found, total, doubtful)


def _split_mask(
    mask: np.ndarray, boxes: Sequence[Box], settings: LabelSettings
) -> tuple[np.ndarray, int, int]:
    """Return for each pixel of a (H, W) mask the index of its box, else -1; the number of connected
    regions, and how many of them boxes explain.
    """
    count, regions, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    owner = _nearest(mask, boxes)
    explained = 0
    for region in range(1, count):
        x, y, width, height, area = stats[region]
        window = np.s_[y : y + height, x : x + width]
        inside = regions[window] == region
        if np.count_nonzero(inside & (owner[window] >= 0)) >= settings.cover * area:
            explained += 1
        else:
            owner[window][inside] = -1
    return owner, count - 1, explained


def _that_fit(mask: np.ndarray, boxes: Sequence[Box], settings: LabelSettings) -> list[Box]:
    """Leave the boxes whose own pixels look like one thing: they fill enough of it.

    More is asked of a box that lies in another: it may be a car before a bus, or a window.
    """
    owner = _nearest(mask, boxes)
    areas = np.bincount(owner[owner >= 0], minlength=len(boxes))
    kept = []
    for box, area in zip(boxes, areas, strict=True):
        fill = _INSIDE if _lies_in_another(box, boxes) else settings.fill
        if area >= max(_SMALLEST, fill * (box.x1 - box.x0) * (box.y1 - box.y0)):
            kept.append(box)
    return kept


def _nearest(mask: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
    """Give each pixel of a mask to the box that it is nearest to the centre of, by the box's size;
    a box that reaches lower is in front and counts as nearer. -1 where there is none.
    """
    owner = np.full(mask.shape, -1, np.int32)
    least = np.full(mask.shape, 1 + 2 * _MARGIN, np.float32)
    order = sorted(range(len(boxes)), key=lambda i: boxes[i].y1)
    for index in order:  # the farthest first
        box = boxes[index]
        margin_x, margin_y = _MARGIN * (box.x1 - box.x0), _MARGIN * (box.y1 - box.y0)
        x0, y0 = max(int(box.x0 - margin_x), 0), max(int(box.y0 - margin_y), 0)
        x1, y1 = int(box.x1 + margin_x) + 1, int(box.y1 + margin_y) + 1
        window = np.s_[y0:y1, x0:x1]
        rows, columns = mask[window].shape
        dx = abs(np.arange(x0, x0 + columns) + 0.5 - (box.x0 + box.x1) / 2)
        dy = abs(np.arange(y0, y0 + rows) + 0.5 - (box.y0 + box.y1) / 2)
        away = np.maximum(
            dx[None] * 2 / (box.x1 - box.x0), dy[:, None] * 2 / (box.y1 - box.y0)
        ).astype(np.float32)
        nearer = mask[window] & (_FRONT * away < least[window])
        owner[window][nearer] = index
        least[window][nearer] = away[nearer]
    return owner


def _lies_in_another(box: Box, boxes: Sequence[Box]) -> bool:
    """Tell whether most of a box is in another one."""
    area = (box.x1 - box.x0) * (box.y1 - box.y0)
    for other in boxes:
        width = min(box.x1, other.x1) - max(box.x0, other.x0)
        height = min(box.y1, other.y1) - max(box.y0, other.y0)
        if other is not box and width > 0 and height > 0 and width * height > _WITHIN * area:
            return True
    return False
