"""Some images of a data set, or some of its labels."""

from __future__ import annotations

from pdl_ros.datasets.record import PanopticDataset, Sample, groups_of


class EvenlySpread:
    """At most so many images of a data set, spread evenly from its first to its last."""

    def __init__(self, dataset: PanopticDataset, most: int) -> None:
        count = len(dataset)
        kept = min(most, count)
        self._dataset, self.label_set, self.groups = dataset, dataset.label_set, groups_of(dataset)
        self._places = [i * (count - 1) // max(kept - 1, 1) for i in range(kept)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._places[index]]


class Certain:
    """A data set with the labels that name one class; what they leave open is void."""

    def __init__(self, dataset: PanopticDataset) -> None:
        self._dataset, self.label_set = dataset, dataset.label_set

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        sample, classes = self._dataset[index], self.label_set.num_classes
        return sample._replace(segments=tuple(s for s in sample.segments if s.class_id < classes))
