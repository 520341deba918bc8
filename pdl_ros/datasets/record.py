"""The record that every data set reader yields."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID

_COUNTABLE = 1 << 20
"""Ids below this are counted, with a table of them in memory; others are sorted."""


class Segment(NamedTuple):
    """One segment of a panoptic map: its value in the map, its train id (or group, see
    `groups_of`), and whether it is a crowd region.
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
    """A sequence of samples with a label set, and with `groups` where it has such (`groups_of`)."""

    label_set: LabelSet

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def groups_of(dataset: PanopticDataset) -> Groups:
    """Return the classes that the labels of a data set do not tell apart, as train ids.

    A segment whose class_id is the number of classes plus g is of group g. () for a data set that
    has no `groups`, as each of its labels names one class.
    """
    groups: Groups = getattr(dataset, 'groups', ())
    return groups


def unused_id(sample: Sample) -> int:
    """Return an id above all of a sample's."""
    return max(int(sample.panoptic.max()), *(s.id for s in sample.segments), 0) + 1


def segments_of(panoptic: np.ndarray, label_set: LabelSet) -> tuple[Segment, ...]:
    """List the segments of a (H, W) map of ``class_id * label_divisor + number`` (65535 = void).

    A thing with number 0 is a crowd region, as Cityscapes has it: things that nobody told apart.
    """
    counted = ids_and_places(panoptic)
    found = np.unique(panoptic) if counted is None else counted[0]
    ids = [int(i) for i in found if i != PANOPTIC_VOID]
    parts = [divmod(i, label_set.label_divisor) for i in ids]
    return tuple(
        Segment(i, class_id, number == 0 and class_id in label_set.thing_ids)
        for i, (class_id, number) in zip(ids, parts, strict=True)
    )


def label_values(sample: Sample, label_set: LabelSet) -> np.ndarray:
    """Return the labels of an image as (H, W) int32 of ``class_id * label_divisor + number``, 65535
    = void, as predictions are.

    Things count from 1, crowds and stuff have number 0. What a group leaves open is void, and so
    are things beyond the largest number.
    """
    values = np.full(sample.panoptic.shape, PANOPTIC_VOID, np.int32)
    seen, divisor = dict[int, int](), label_set.label_divisor
    for segment in sample.segments:
        if segment.class_id >= label_set.num_classes:
            continue
        number = 0
        if label_set.classes[segment.class_id].is_thing and not segment.is_crowd:
            number = seen[segment.class_id] = seen.get(segment.class_id, 0) + 1
        if number < divisor:
            values[sample.panoptic == segment.id] = segment.class_id * divisor + number
    return values


def ids_and_places(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the ids of a map, ascending, and for each pixel the place of its own among them; None
    for a map whose ids are too large, or negative, to be counted.
    """
    if not ids.size or ids.min() < 0 or ids.max() >= _COUNTABLE:
        return None
    there = np.bincount(ids.ravel()) > 0
    found = np.flatnonzero(there)
    places = np.zeros(len(there), np.int32)
    places[found] = np.arange(len(found), dtype=np.int32)
    return found, places.take(ids)
