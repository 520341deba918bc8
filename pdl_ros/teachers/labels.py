"""The labels of one picture while they are decided: a class and a number for every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdl_ros.datasets import Sample
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID

UNKNOWN = -1


@dataclass
class Labels:
    """classes: (H, W) int16, a class of a label set with joined ones, or UNKNOWN. numbers: (H, W)
    int32, one for each instance whatever its class; 0 for stuff and crowds.
    """

    classes: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, sample: Sample, things: Sequence[int]) -> Labels:
        """Take the labels of a sample. things: the classes whose segments are instances."""
        ids, places = np.unique(sample.panoptic, return_inverse=True)
        known = {
            s.id: (s.class_id, number if s.class_id in things and not s.is_crowd else 0)
            for number, s in enumerate(sample.segments, 1)
        }
        table = np.array([known.get(int(i), (UNKNOWN, 0)) for i in ids])
        pixels = table[places.reshape(sample.panoptic.shape)]
        return cls(pixels[..., 0].astype(np.int16), pixels[..., 1].astype(np.int32))

    @classmethod
    def nothing(cls, size: tuple[int, ...]) -> Labels:
        """Begin with nothing known of a picture of a (height, width)."""
        return cls(np.full(size, UNKNOWN, np.int16), np.zeros(size, np.int32))

    def to_panoptic(self, label_set: LabelSet) -> np.ndarray:
        """Return the (H, W) uint16 map of ``class * label_divisor + number``, 65535 = unknown.

        Instances count from 1 in each class, the largest first; what goes beyond the label_divisor
        is a crowd, and stuff has no number.
        """
        things = np.zeros(label_set.num_classes + 1, bool)
        things[list(label_set.thing_ids)] = True
        numbers = np.where(things[self.classes], self.numbers, 0)
        keys = self.classes.astype(np.int64) << 32 | numbers
        found, places, areas = np.unique(keys, return_inverse=True, return_counts=True)
        values = np.full(len(found), PANOPTIC_VOID, np.uint16)
        counts = dict[int, int]()
        for i in np.argsort(-areas, kind='stable'):
            class_id, number = int(found[i] >> 32), int(found[i] & 0xFFFFFFFF)
            if class_id == UNKNOWN:
                continue
            if number:
                counts[class_id] = number = counts.get(class_id, 0) + 1
            in_range = number < label_set.label_divisor
            values[i] = class_id * label_set.label_divisor + (number if in_range else 0)
        return values[places.reshape(self.classes.shape)]
