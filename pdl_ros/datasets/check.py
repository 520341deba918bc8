"""What is wrong with a data set, and what is in it, before anything is trained on it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.datasets.mapped import MappedDataset, UnknownClassError, WrongSizeError, read_pair
from pdl_ros.datasets.record import Segment
from pdl_ros.datasets.source import SourceSegment
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

MISSING, UNREADABLE, SIZE, UNKNOWN = 'missing', 'unreadable', 'of another size', 'unknown class'
HIDDEN, EMPTY = 'listed but not in the labels', 'without any label'
FATAL = (MISSING, UNREADABLE, SIZE, UNKNOWN)
"""Faults with which an image cannot be trained on or scored."""


class Fault(NamedTuple):
    """What is wrong with an image; kind: one of the above."""

    image: str
    kind: str
    says: str


@dataclass
class ClassCount:
    """What there is of a class: images that show it, pixels, crowds, and the areas of its segments
    in pixels, crowds not counted.
    """

    images: int = 0
    pixels: int = 0
    crowds: int = 0
    areas: list[int] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; the limits of small and large are COCO's, 32² and 96²."""
        areas = np.array(self.areas or [0])
        small, large = int((areas < 1024).sum()), int((areas >= 9216).sum())
        return {
            'images': self.images,
            'segments': len(self.areas),
            'crowds': self.crowds,
            'pixels': self.pixels,
            'smallest': int(areas.min()),
            'median': int(np.median(areas)),
            'largest': int(areas.max()),
            'small': small if self.areas else 0,
            'medium': len(self.areas) - small - large if self.areas else 0,
            'large': large,
        }


@dataclass
class Report:
    """What a check of a split found. unknown: pixels by class that the label set lacks. sizes:
    images by (width, height). void: pixels without a class.
    """

    where: str
    layout: str
    split: str
    images: int
    label_set: LabelSet
    classes: list[ClassCount]
    faults: list[Fault] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: int = 0
    void: int = 0

    @property
    def fatal(self) -> list[str]:
        """The images that cannot be used, in order."""
        return list(dict.fromkeys(f.image for f in self.faults if f.kind in FATAL))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        names = [c.name for c in self.label_set.classes]
        return {
            'where': self.where,
            'layout': self.layout,
            'split': self.split,
            'images': self.images,
            'label_set': self.label_set.name,
            'sizes': {f'{w}x{h}': count for (w, h), count in self.sizes.items()},
            'pixels': self.pixels,
            'void': self.void,
            'unknown': dict(self.unknown),
            'faults': [f._asdict() for f in self.faults],
            'classes': {n: c.to_dict() for n, c in zip(names, self.classes, strict=True)},
        }


def check(dataset: MappedDataset, split: str) -> Iterator[Report]:
    """Look at every image of a split, on all cores; yield the report after each, as it grows.

    It is whole after the last; without images it is yielded once. Nothing raises but bugs.
    """
    source, label_set = dataset.source, dataset.label_set
    counts = [ClassCount() for _ in label_set.classes]
    report = Report(source.where, source.layout, split, len(dataset), label_set, counts)
    if not len(dataset):
        yield report
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda i: _look(dataset, i), range(len(dataset))):
            _add(report, found)
            yield report


class _Found(NamedTuple):
    """What one image has: areas by segment, beside the segments."""

    faults: list[Fault]
    size: tuple[int, int] | None = None
    segments: tuple[Segment, ...] = ()
    areas: tuple[int, ...] = ()
    unknown: dict[str, int] = {}


def _look(dataset: MappedDataset, index: int) -> _Found:
    source, name = dataset.source, dataset.source.names[index]
    for path in (source.image(index), source.label_file(index)):
        if path is not None and not path.is_file():
            return _Found([Fault(name, MISSING, f'{path} is missing.')])
    try:
        image, labels = read_pair(source, index)
    except WrongSizeError as error:
        return _Found([Fault(name, SIZE, str(error))])
    except PdlError as error:
        return _Found([Fault(name, UNREADABLE, str(error))])
    area = _areas(labels.values)
    lost = [s for s in labels.segments if dataset.target(s) is None]
    size = (image.shape[1], image.shape[0])
    try:
        panoptic, segments = dataset.map(index, labels)
    except UnknownClassError as error:
        unknown = Counter[str]()
        for s in lost:
            unknown[_called(s)] += area.get(s.value, 0)
        return _Found([Fault(name, UNKNOWN, str(error))], size, unknown=dict(unknown))
    hidden = [s for s in labels.segments if not area.get(s.value)]
    faults = [Fault(name, HIDDEN, _hidden(hidden, source.label_file(index)))] if hidden else []
    found = _areas(panoptic)
    areas = tuple(found.get(s.id, 0) for s in segments)
    if not any(areas):
        faults.append(Fault(name, EMPTY, f'{source.image(index)} has no pixel with a label.'))
    return _Found(faults, size, segments, areas)


def _areas(values: np.ndarray) -> dict[int, int]:
    found, areas = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), areas.tolist(), strict=True))


def _called(segment: SourceSegment) -> str:
    return (
        f'{segment.class_id} of the semantic PNG'
        if segment.from_semantic
        else str(segment.class_id)
    )


def _hidden(hidden: list[SourceSegment], file: object) -> str:
    return (
        f'{len(hidden)} segments of {file} have no pixel: behind others, outside of the picture or '
        'never drawn.'
    )


def _add(report: Report, found: _Found) -> None:
    report.faults += found.faults
    report.unknown.update(found.unknown)
    if found.size is None:
        return
    report.sizes[found.size] += 1
    if any(f.kind in FATAL for f in found.faults):
        return
    report.pixels += found.size[0] * found.size[1]
    report.void += found.size[0] * found.size[1] - sum(found.areas)
    shown = set[int]()
    for segment, area in zip(found.segments, found.areas, strict=True):
        if not area:
            continue
        count = report.classes[segment.class_id]
        count.pixels += area
        shown.add(segment.class_id)
        if segment.is_crowd:
            count.crowds += 1
        else:
            count.areas.append(area)
    for class_id in shown:
        report.classes[class_id].images += 1
