"""Mean IoU, and the instance-level iIoU, of semantic maps, as cityscapesScripts counts them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.evaluation.arithmetic import divide
from pdl_ros.evaluation.overlaps import Overlaps
from pdl_ros.labels import LabelSet

# Mean pixels of an instance in the training labels of Cityscapes, published with its scripts.
_PUBLISHED_SIZES = {
    'cityscapes': {
        'person': 3462.4756337644,
        'rider': 3930.4788056518,
        'car': 12794.0202738185,
        'truck': 27855.1264367816,
        'bus': 35732.1511111111,
        'train': 67583.7075812274,
        'motorcycle': 6298.7200839748,
        'bicycle': 4672.3249222261,
    }
}


class PixelCounts(NamedTuple):
    """Pixels of semantic maps, and shares of instances.

    confusion: (C, C + 1) pixels by labelled and predicted class; the last column is predicted void,
    void labels are left out. Of labels with groups it has one more row, something else: what is
    predicted there, and cannot be. right, wrong: (C,) sums over a class's labelled instances of the
    share of their pixels that has its class, and of the rest. instances, area: (C,) their number
    and pixels.
    """

    confusion: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    instances: np.ndarray
    area: np.ndarray

    @classmethod
    def none(cls, num_classes: int, groups: Groups = ()) -> PixelCounts:
        """Return counts of nothing."""
        by_class = [np.zeros(num_classes, dtype) for dtype in (float, float, int, int)]
        return cls(_no_pixels(num_classes, groups), *by_class)

    def iou(self) -> np.ndarray:
        """Return the (C,) IoU of each class; NaN without a pixel."""
        correct = self._correct()
        labelled = self.confusion.sum(1)[: len(correct)]
        return divide(correct, labelled + self._predicted() - correct)

    def instance_iou(self, label_set: LabelSet) -> np.ndarray:
        """Return the (C,) iIoU: an IoU in which every labelled instance weighs like one of average
        size. NaN for stuff.

        The average is the published one for Cityscapes, and that of the labels scored for others.
        """
        published = _PUBLISHED_SIZES.get(label_set.name, {})
        sizes = divide(self.area, self.instances)
        names = [c.name for c in label_set.classes]
        sizes = np.array([published.get(n, s) for n, s in zip(names, sizes, strict=True)])
        right, wrong = (
            np.where(self.instances == 0, 0.0, sizes * w) for w in (self.right, self.wrong)
        )
        false = self._predicted() - self._correct()
        iou = divide(right, right + wrong + false)
        return np.where([c.is_thing for c in label_set.classes], iou, np.nan)

    def _correct(self) -> np.ndarray:
        return np.diagonal(self.confusion)[: self.confusion.shape[1] - 1]

    def _predicted(self) -> np.ndarray:
        return self.confusion[:, :-1].sum(0)


def _no_pixels(num_classes: int, groups: Groups) -> np.ndarray:
    return np.zeros((num_classes + bool(groups), num_classes + 1), np.int64)


def count_pixels(overlaps: Overlaps, label_set: LabelSet, groups: Groups = ()) -> PixelCounts:
    """Count one image; the predicted values may be train ids or finer. Crowds count as their class
    in the confusion, and are no instances.
    """
    rows, num_classes = overlaps.truth_classes, label_set.num_classes
    confusion = _no_pixels(num_classes, groups)
    columns = np.append(overlaps.classes, num_classes)
    np.add.at(confusion, (rows[:, None], columns), overlaps.areas[1:])

    area = overlaps.truth_areas
    counted = ~overlaps.is_crowd & (area > 0) & np.isin(rows, label_set.thing_ids)
    own = np.where(rows[:, None] == overlaps.classes, overlaps.shared, 0).sum(1)[counted]
    rows, area = rows[counted], area[counted]

    def by_class(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(rows, weights, minlength=num_classes)

    return PixelCounts(
        confusion,
        by_class(own / area),
        by_class((area - own) / area),
        by_class(None),
        by_class(area).astype(np.int64),
    )
