"""A data set in the classes in which it is scored."""

from __future__ import annotations

from pdl_ros.datasets import PanopticDataset, Sample, Segment
from pdl_ros.evaluation.sets.classes import SetClasses


class SetTruth:
    """A `PanopticDataset` out of a set of a mixture, in the classes of the set.

    Stuff of classes that are one is one segment in each image.
    """

    def __init__(self, dataset: PanopticDataset, classes: SetClasses) -> None:
        self._dataset, self._classes = dataset, classes
        self.label_set, self.groups = classes.label_set, classes.groups
        scored = enumerate(classes.label_set.classes)
        self._stuff = {place for place, c in scored if not c.is_thing}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        return self._own(self._dataset[index])

    def _own(self, sample: Sample) -> Sample:
        panoptic, segments = sample.panoptic, dict[int, Segment]()
        stuff = dict[int, int]()
        for segment in sample.segments:
            class_id = self._classes.targets[segment.class_id]
            kept = segment.id
            if class_id in self._stuff:
                kept = stuff.setdefault(class_id, segment.id)
            if kept != segment.id:
                if panoptic is sample.panoptic:
                    panoptic = panoptic.copy()
                panoptic[panoptic == segment.id] = kept
            is_crowd = segment.is_crowd or (kept in segments and segments[kept].is_crowd)
            segments[kept] = Segment(kept, class_id, is_crowd)
        return sample._replace(panoptic=panoptic, segments=tuple(segments.values()))
