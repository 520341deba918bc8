"""The evaluator of a set with partial labels."""

from __future__ import annotations

import numpy as np

from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.evaluation.metrics import ImageCounts, PanopticEvaluator
from pdl_ros.evaluation.panoptic_quality import SegmentCounts, count_segments, whole_union_areas


class SetEvaluator(PanopticEvaluator):
    """A `PanopticEvaluator` that spares what is unknown, and also counts things as if it did not
    within a segment.

    By the published rule a thing that covers unlabelled ground is no worse for it, so that a blob
    over a labelled car and all that is around it is that car. Where little is labelled the second
    count tells how much of PQ is owed to that.
    """

    def __init__(self, truth: PanopticDataset, ap_rule: str = 'none') -> None:
        super().__init__(truth.label_set, ap_rule, groups_of(truth), spares_void=True)
        self._whole = SegmentCounts.none(truth.label_set.num_classes)

    def add(self, image: ImageCounts) -> None:
        """Add what `count` returned for an image."""
        super().add(image)
        union, classes = whole_union_areas(image.panoptic), self.label_set.num_classes
        counts = count_segments(image.panoptic, classes, union)
        self._add_whole(counts)

    def merge(self, other: PanopticEvaluator) -> None:
        """Add all images of another evaluator of the set, which are not among its own."""
        super().merge(other)
        assert isinstance(other, SetEvaluator)
        self._add_whole(other._whole)

    def whole_qualities(self) -> dict[str, float]:
        """Return the PQ of each class of things, by its name, where IoU takes all of a predicted
        thing; without a value where there is nothing to find.
        """
        pq = np.where(self._whole.tp + self._whole.fn > 0, self._whole.qualities()[0], np.nan)
        return {self.label_set.classes[i].name: float(pq[i]) for i in self.label_set.thing_ids}

    def _add_whole(self, counts: SegmentCounts) -> None:
        self._whole = SegmentCounts(*(a + b for a, b in zip(self._whole, counts, strict=True)))
