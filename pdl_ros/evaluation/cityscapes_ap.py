"""Mask AP by the rules of Cityscapes: cityscapesScripts' evaluation of instance labels.

Segments of a panoptic map do not overlap, so none has two partners with an IoU above 0.5; the rules
for duplicates are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pdl_ros.evaluation.overlaps import Overlaps

THRESHOLDS = np.arange(0.5, 1.0, 0.05)
_TOGETHER = 256
"""Images whose instances become one array: of an hour of video, the arrays weigh more than what is
in them.
"""
SMALLEST = 100
"""Pixels below which a labelled instance is neither found nor missed."""
_FOUND, _FALSE, _IGNORED = 1, 0, -1


class Instances(NamedTuple):
    """Predicted and labelled instances of one class. scores: (P,). outcomes: (P, 10) int8: found,
    false or ignored at each threshold. labelled: how many there were to find.
    """

    scores: np.ndarray
    outcomes: np.ndarray
    labelled: int


class CityscapesAP:
    """Collect instances image by image: a score and ten outcomes of each; no image is kept."""

    def __init__(self, num_classes: int) -> None:
        self._classes: list[list[Instances]] = [[] for _ in range(num_classes)]
        self._loose = [0] * num_classes  # images at the end of each list

    def add(self, image: dict[int, Instances]) -> None:
        """Add what `count_instances` gave for an image."""
        for class_id, instances in image.items():
            images = self._classes[class_id]
            images.append(instances)
            self._loose[class_id] += 1
            if self._loose[class_id] == _TOGETHER:
                images[-_TOGETHER:] = [join(images[-_TOGETHER:])]
                self._loose[class_id] = 0

    def merge(self, other: CityscapesAP) -> None:
        """Add all that another collected."""
        for own, others in zip(self._classes, other._classes, strict=True):
            own += others
        self._loose = [0] * len(self._loose)

    def compute(self) -> np.ndarray:
        """Return the (C, 10) AP of each class and threshold; NaN where nothing was labelled."""
        return np.array([_class_ap(images) for images in self._classes])


def join(images: Sequence[Instances]) -> Instances:
    """Return the instances of a class of several images, one at least, as of one."""
    return Instances(
        np.concatenate([i.scores for i in images]),
        np.concatenate([i.outcomes for i in images]),
        sum(i.labelled for i in images),
    )


def count_instances(
    overlaps: Overlaps, scores: np.ndarray, thing_ids: Sequence[int]
) -> dict[int, Instances]:
    """Judge the predicted instances of an image, by class. scores: (P,), not read for stuff."""
    there = {*overlaps.classes.tolist(), *overlaps.truth_classes.tolist()}
    return {c: _judge(overlaps, scores, c) for c in thing_ids if c in there}


def _judge(overlaps: Overlaps, scores: np.ndarray, class_id: int) -> Instances:
    rows, columns = overlaps.truth_classes == class_id, overlaps.classes == class_id
    truth_area, area = overlaps.truth_areas[rows], overlaps.predicted_areas[columns]
    is_crowd, is_small = overlaps.is_crowd[rows], truth_area < SMALLEST
    counted = ~is_crowd & ~is_small
    shared = overlaps.shared[rows][:, columns]
    iou = shared / (truth_area[:, None] + area - shared)
    matched = iou[:, :, None] > THRESHOLDS  # (T, P, 10)
    # A crowd that is small counts twice, as published.
    excused = overlaps.on_void[columns] + shared[is_crowd].sum(0) + shared[is_small].sum(0)
    outcomes = np.where((excused / area)[:, None] > THRESHOLDS, _IGNORED, _FALSE)
    outcomes = np.where(matched.any(0), _IGNORED, outcomes)
    outcomes = np.where(matched[counted].any(0), _FOUND, outcomes).astype(np.int8)
    return Instances(scores[columns], outcomes, int(counted.sum()))


def _class_ap(images: list[Instances]) -> list[float]:
    labelled = sum(i.labelled for i in images)
    if not labelled:
        return [math.nan] * len(THRESHOLDS)
    together = join(images)
    return [_area_under_curve(together.scores, column, labelled) for column in together.outcomes.T]


def _area_under_curve(scores: np.ndarray, outcomes: np.ndarray, labelled: int) -> float:
    kept = outcomes != _IGNORED
    if not kept.any():
        return 0.0
    # One point for each score that occurs, ascending: what at least it would keep.
    points, first = np.unique(scores[kept], return_inverse=True)
    found = np.bincount(first, outcomes[kept] == _FOUND, minlength=len(points))[::-1].cumsum()[::-1]
    predicted = np.bincount(first, minlength=len(points))[::-1].cumsum()[::-1]
    precision = np.append(found / predicted, 1.0)
    recall = np.append(found / labelled, 0.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ ((padded[:-2] - padded[2:]) / 2))
