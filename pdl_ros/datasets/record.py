"""The record that every data set reader yields."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID


class Segment(NamedTuple):
    """One segment of a panoptic map: its value in the map, its train id, and whether it is a crowd
    region.
    """

    id: int
    class_id: int
    is_crowd: bool = False


class Sample(NamedTuple):
    """One labelled image.

    image: (H, W, 3) uint8 RGB. panoptic: (H, W) int32 of segment ids; a pixel whose id is in no
    segment is void. segments: in the order in which targets are drawn.
    """

    name: str
    image: np.ndarray
    panoptic: np.ndarray
    segments: tuple[Segment, ...]


class PanopticDataset(Protocol):
    """A sequence of samples with a label set."""

    label_set: LabelSet

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def segments_of(panoptic: np.ndarray, label_divisor: int) -> tuple[Segment, ...]:
    """List the segments of a (H, W) map of ``class_id * label_divisor + instance_id`` (65535 =
    void).
    """
    ids = np.unique(panoptic)
    return tuple(Segment(int(i), int(i) // label_divisor) for i in ids if i != PANOPTIC_VOID)
