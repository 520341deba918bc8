"""Samples out of the labels of any layout: its ids become those of a label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pdl_ros.datasets.groups import Groups, are_things
from pdl_ros.datasets.record import Sample, Segment
from pdl_ros.datasets.source import Source, SourceLabels, SourceSegment
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import read_rgb_both
from pdl_ros.labels import LabelSet, SourceClass
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.labels.sources import VOID, Target, resolve


class UnknownClassError(PdlError):
    """Labels hold a class that has no place in the label set."""


class WrongSizeError(PdlError):
    """Labels and their picture are not of one size."""


class ClassMap(NamedTuple):
    """What the labels of a data set become: a train id, None for void, or with `groups` the number
    of classes plus the place of a group.

    targets: of its classes, by their ids. unlabelled: of pixels that nobody labelled. semantic: of
    the values of semantic PNGs beside polygons.
    """

    targets: Mapping[int, Target]
    unlabelled: int | None
    semantic: Mapping[int, int | None]
    groups: Groups = ()


def class_map(
    source: Source, label_set: LabelSet, classes: Sequence[SourceClass] | None = None
) -> ClassMap:
    """Return what the labels of a source become by the rules of a label set. classes: those of the
    source by other names than they have there.
    """
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    rules, named = label_set.sources, source.classes if classes is None else classes
    return ClassMap(
        resolve(label_set, named, f'{source.where} ({source.layout})'),
        None if rules.unlabelled is None else ids[rules.unlabelled],
        {v: None if n is None else ids[n] for v, n in rules.semantic.items()}
        or {**{i: i for i in range(label_set.num_classes)}, SEMANTIC_VOID: None},
    )


class MappedDataset:
    """A `PanopticDataset` out of a `Source`, by the rules of its label set, or by a `ClassMap`.

    Pictures are read as their labels lie: as viewers show them or, where only that fits the size of
    the labels, as they are stored. Stuff is one segment a class, however many the data have; things
    of a class that the data do not count are crowds, and so is unlabelled ground that may be one.
    """

    def __init__(self, source: Source, label_set: LabelSet, rules: ClassMap | None = None) -> None:
        self.source, self.label_set = source, label_set
        self.rules = rules or class_map(source, label_set)
        self._of_mixture = rules is not None
        self.groups = self.rules.groups
        self._is_thing = are_things(label_set, self.groups)

    @property
    def labelled(self) -> frozenset[int]:
        """All that its labels may say: train ids, and groups as in segments."""
        single = (self.rules.unlabelled, *self.rules.semantic.values())
        named = (*(t.class_id for t in self.rules.targets.values()), *single)
        return frozenset(i for i in named if i is not None)

    def __len__(self) -> int:
        return len(self.source.names)

    def __getitem__(self, index: int) -> Sample:
        image, labels = read_pair(self.source, index)
        panoptic, segments = self.map(index, labels)
        return Sample(self.source.names[index], image, panoptic, segments)

    def map(self, index: int, labels: SourceLabels) -> tuple[np.ndarray, tuple[Segment, ...]]:
        """Return the (H, W) int32 map and the segments of labels of an image."""
        panoptic = np.ascontiguousarray(labels.values, np.int32)
        rows = [(s.value, self._target(index, s), s.is_crowd) for s in labels.segments]
        if self.rules.unlabelled is not None and labels.unlabelled is not None:
            rows.append((labels.unlabelled, Target(self.rules.unlabelled, is_crowd=True), False))
        segments, first, merged = [], dict[int, int](), dict[int, int]()
        for value, target, is_crowd in rows:
            if target.class_id is None:
                continue
            if self._is_thing[target.class_id]:
                is_crowd = is_crowd or target.is_crowd
                segments.append(Segment(value, target.class_id, is_crowd))
            elif (kept := first.setdefault(target.class_id, value)) == value:
                segments.append(Segment(value, target.class_id))
            else:
                merged[value] = kept
        if merged:
            panoptic = _replaced(panoptic, merged)
        return panoptic, tuple(segments)

    def target(self, segment: SourceSegment) -> Target | None:
        """Return what a segment becomes; None where the label set has no place for it."""
        number = segment.class_id
        if segment.from_semantic:
            # Things in a semantic PNG are not told apart.
            known = number in self.rules.semantic
            return Target(self.rules.semantic[number], is_crowd=True) if known else None
        numbers = not self.source.classes and not self._of_mixture
        rest = VOID if numbers and self.label_set.sources.ignores_rest else None
        return self.rules.targets.get(number, rest)

    def _target(self, index: int, segment: SourceSegment) -> Target:
        target = self.target(segment)
        if target is None:
            raise UnknownClassError(self._unknown(index, segment))
        return target

    def _unknown(self, index: int, segment: SourceSegment) -> str:
        name, number = self.label_set.name, segment.class_id
        if segment.from_semantic:
            says = f'The semantic PNG of {self.source.names[index]} holds {number}'
            if self._of_mixture:
                return f'{says}, of which the mixture says nothing; name it there under semantic.'
            return f'{says}, which is no class of label set {name!r}; map it there under semantic.'
        says = f'{self.source.label_file(index)} holds class {number}'
        if self.source.classes:
            return f'{says}, which {self.source.where} does not name.'
        if self._of_mixture:
            return f'{says}, of which the mixture says nothing; name it there under classes.'
        if self.label_set.sources.maps_numbers:
            return f'{says}, which label set {name!r} neither maps nor ignores.'
        return f'{says}, but label set {name!r} ends at {self.label_set.num_classes - 1}.'


def read_pair(source: Source, index: int) -> tuple[np.ndarray, SourceLabels]:
    """Read an image, (H, W, 3) uint8 RGB, and its labels, of the same size.

    Raises PdlError, which names the file, where one is missing, damaged or of another size.
    """
    path = source.image(index)
    shown, stored = read_rgb_both(path)
    labels = source.read(index, shown.shape[:2])
    size = labels.values.shape
    for image in (shown, stored):
        if image.shape[:2] == size:
            return np.ascontiguousarray(image), labels
    height, width = shown.shape[:2]
    tag = ', turned by its EXIF tag,' if shown is not stored else ''
    raise WrongSizeError(
        f'{source.label_file(index)} is {size[1]}x{size[0]}, but the picture {path.name}{tag} is '
        f'{width}x{height}; labels and picture must have one size.'
    )


def _replaced(panoptic: np.ndarray, values: dict[int, int]) -> np.ndarray:
    """Return a map with some of its values replaced by others."""
    old = np.array(sorted(values), np.int32)
    new = np.array([values[v] for v in sorted(values)], np.int32)
    place = np.searchsorted(old, panoptic).clip(max=len(old) - 1)
    return np.where(old[place] == panoptic, new[place], panoptic)
