"""What a network says, in the classes of the set that it is judged on."""

from __future__ import annotations

import numpy as np
import torch

from pdl_ros.datasets import PanopticDataset, groups_of
from pdl_ros.datasets.groups import Groups
from pdl_ros.errors import require
from pdl_ros.evaluation.sets.classes import NOTHING, SetClasses
from pdl_ros.fusion import PanopticResult, SegmentTable
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID


class SetResults:
    """Bring results of a network into the classes of a set.

    What the set does not score becomes void: on a label, that is wrong. Instances stay apart;
    stuff of classes that are one becomes one segment, and stuff of the network that is a thing in
    the set one instance of it. The map of instance numbers stays as it is.
    """

    def __init__(self, of_network: Groups, classes: SetClasses) -> None:
        """Take the classes of the mixture, one or several, that each class of the network is."""
        self.places = np.array([classes.place(of_class) for of_class in of_network], int)
        self._label_set = classes.label_set
        self._semantic = np.full(256, SEMANTIC_VOID, np.uint8)
        known = np.flatnonzero(self.places != NOTHING)
        self._semantic[known] = self.places[known]

    def right(self, truth: PanopticDataset) -> np.ndarray:
        """Return (K + G, N) bool: for each class of the set and each group of its labels, which
        classes of the network are right.
        """
        single = [(place,) for place in range(truth.label_set.num_classes)]
        return np.stack([np.isin(self.places, group) for group in (*single, *groups_of(truth))])

    def __call__(self, result: PanopticResult) -> PanopticResult:
        """Return a result on the host in the classes of the set; segments in the order in which
        they were, of stuff that is one the first.
        """
        values = self._values(result.segments)
        table = np.full(PANOPTIC_VOID + 1, PANOPTIC_VOID, np.int32)
        table[result.segments.id.numpy()] = values
        return PanopticResult(
            torch.from_numpy(self._semantic[result.semantic.numpy()]),
            result.instance,
            torch.from_numpy(table[result.panoptic.numpy()]),
            self._segments(result.segments, values),
        )

    def _values(self, segments: SegmentTable) -> np.ndarray:
        """Return the new value of every segment; void for what the set does not score."""
        divisor, seen, values = self._label_set.label_divisor, dict[int, int](), []
        for class_id in segments.class_id.tolist():
            place = int(self.places[class_id])
            number = 0
            if place == NOTHING:
                values.append(PANOPTIC_VOID)
                continue
            if self._label_set.classes[place].is_thing:
                number = seen[place] = seen.get(place, 0) + 1
                require(
                    number < divisor,
                    f'A prediction has more than {divisor - 1} things of class '
                    f'{self._label_set.classes[place].name!r}; they cannot be told apart.',
                )
            values.append(place * divisor + number)
        return np.array(values, np.int32)

    def _segments(self, segments: SegmentTable, values: np.ndarray) -> SegmentTable:
        _, first, same = np.unique(values, return_index=True, return_inverse=True)
        areas = np.bincount(same, segments.area.numpy(), len(first)).astype(np.int32)
        order = np.argsort(first)
        order = order[values[first[order]] != PANOPTIC_VOID]
        rows = torch.from_numpy(first[order])
        ids = torch.from_numpy(values)[rows]
        class_id = ids // self._label_set.label_divisor
        is_thing = np.isin(class_id.numpy(), self._label_set.thing_ids)
        kept = SegmentTable(*(column[rows] for column in segments))
        return kept._replace(
            id=ids,
            class_id=class_id,
            is_thing=torch.from_numpy(is_thing),
            area=torch.from_numpy(areas[order]),
        )
