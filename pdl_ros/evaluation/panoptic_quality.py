"""Panoptic quality: Kirillov et al., "Panoptic Segmentation" (CVPR 2019), section 4, with the void
and crowd rules of panopticapi. Areas are whole pixels, so that no threshold depends on rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.evaluation.arithmetic import divide
from pdl_ros.evaluation.overlaps import Overlaps


class SegmentCounts(NamedTuple):
    """Per class: the summed IoU of the matched pairs; segments found, made up and missed."""

    iou_sum: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @classmethod
    def none(cls, num_classes: int) -> SegmentCounts:
        """Return counts of nothing."""
        return cls(*(np.zeros(num_classes, dtype) for dtype in (float, int, int, int)))

    def qualities(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return PQ, SQ and RQ of every class; NaN where it never occurred."""
        occurrences = self.tp + (self.fp + self.fn) / 2
        pq, rq = divide(self.iou_sum, occurrences), divide(self.tp, occurrences)
        # A class that occurred but was never found has no pair to average over: published as 0.
        unfound = (self.tp == 0) & (occurrences > 0)
        return pq, np.where(unfound, 0.0, divide(self.iou_sum, self.tp)), rq


def match(overlaps: Overlaps, union: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return which labelled and predicted segments are pairs, (T, P) bool, and the (T, P) unions:
    those given, or the published `union_areas`.

    A pair is of one class and has an IoU above 0.5, so there is at most one partner for each.
    """
    union = union_areas(overlaps) if union is None else union
    comparable = overlaps.truth_classes[:, None] == overlaps.classes
    comparable &= ~overlaps.is_crowd[:, None]
    return comparable & (2 * overlaps.shared > union), union


def union_areas(overlaps: Overlaps) -> np.ndarray:
    """Return the (T, P) unions of labelled and predicted segments, pixels."""
    # Predicting on unlabelled pixels is no fault; predicting void on labelled ones is.
    alone = overlaps.truth_areas[:, None] + overlaps.predicted_areas
    union: np.ndarray = alone - overlaps.shared - overlaps.on_void
    return union


def whole_union_areas(overlaps: Overlaps) -> np.ndarray:
    """Return the (T, P) unions with all of a predicted segment, also what lies on unlabelled
    pixels.
    """
    union: np.ndarray = union_areas(overlaps) + overlaps.on_void
    return union


def count_segments(
    overlaps: Overlaps, num_classes: int, union: np.ndarray | None = None
) -> SegmentCounts:
    """Match the segments of one image and count them by class; union: as in `match`."""
    truth_classes, classes, shared = overlaps.truth_classes, overlaps.classes, overlaps.shared
    matched, union = match(overlaps, union)
    rows, columns = np.nonzero(matched)

    # Where a class has several crowd regions the last one hides the others, as in panopticapi.
    crowd_row = {s.class_id: row for row, s in enumerate(overlaps.segments) if s.is_crowd}
    excused = overlaps.on_void.copy()
    for class_id, row in crowd_row.items():
        excused += np.where(classes == class_id, shared[row], 0)
    false = ~matched.any(0) & ~(2 * excused > overlaps.predicted_areas)
    missed = ~matched.any(1) & ~overlaps.is_crowd

    def by_class(ids: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(ids, weights, minlength=num_classes)

    found, iou = truth_classes[rows], shared[rows, columns] / union[rows, columns]
    return SegmentCounts(
        by_class(found, iou),
        by_class(found),
        by_class(classes[false]),
        by_class(truth_classes[missed]),
    )
