"""What became of every labelled thing, and why."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pdl_ros.datasets import Sample
from pdl_ros.datasets.groups import Groups
from pdl_ros.evaluation.overlaps import Overlaps, overlaps
from pdl_ros.evaluation.panoptic_quality import match
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID

CAUSES = (
    'found',
    'missed by the semantics',
    'merged with a neighbour',
    'without a centre',
    'split',
    'poor outline',
)
SIZES = ('small', 'medium', 'large')
_SMALL, _LARGE = 32**2, 96**2  # pixels, as COCO has them


class Fate(NamedTuple):
    """What became of a labelled thing: indices into `CAUSES` and `SIZES`, its class, its pixels."""

    cause: int
    size: int
    class_id: int
    area: int


def fates(
    sample: Sample, result: PanopticResult, label_set: LabelSet, groups: Groups = ()
) -> list[Fate]:
    """Sort every labelled thing of an image that is no crowd by the first cause that holds.

    Found: a segment of its class overlaps it with an IoU above 0.5. Missed by the semantics: at
    most half of its pixels have its class in the semantic map, or the segment that overlaps it so
    took another class. Merged: most of it went to a segment that holds more than half of another
    thing. Without a centre: no centre of a predicted thing lies in its box, as none was found or
    what it made is hardly believed. Split: no segment holds more than
    half of it. Poor outline: the rest.
    """
    divisor = label_set.label_divisor
    joined = overlaps(sample, result.panoptic, label_set, PANOPTIC_VOID, divisor, groups)
    pixels = overlaps(sample, result.semantic, label_set, SEMANTIC_VOID, 1, groups)
    right = np.where(pixels.truth_classes[:, None] == pixels.classes, pixels.shared, 0).sum(1)
    things = np.isin(joined.truth_classes, label_set.thing_ids) & ~joined.is_crowd
    things &= joined.truth_areas > 0
    found = np.any(match(joined)[0], axis=1)
    # What became a thing without a centre has an objectness of 0.
    detected = result.segments.is_thing & (result.segments.objectness != 0)
    centers = result.segments.center[detected].numpy()
    instances = joined.shared[:, np.isin(joined.classes, label_set.thing_ids)]
    holds = things[:, None] & (2 * instances > joined.truth_areas[:, None])
    fates_of_image = []
    for row in np.flatnonzero(things).tolist():
        area, cause = int(joined.truth_areas[row]), CAUSES.index('found')
        if not found[row]:
            in_box = _has_center(sample, joined.segments[row].id, centers)
            cause = _cause(joined, row, 2 * right[row] > area, instances, holds, in_box)
        size = int(area >= _SMALL) + int(area >= _LARGE)
        fates_of_image.append(Fate(cause, size, int(joined.truth_classes[row]), area))
    return fates_of_image


def _cause(
    joined: Overlaps,
    row: int,
    class_is_right: bool,
    instances: np.ndarray,
    holds: np.ndarray,
    has_center: bool,
) -> int:
    if not class_is_right or _has_another_class(joined, row):
        return CAUSES.index('missed by the semantics')
    most = int(instances[row].argmax()) if instances.shape[1] else -1
    if most < 0 or not instances[row, most]:
        return CAUSES.index('without a centre')
    if np.delete(holds[:, most], row).any():
        return CAUSES.index('merged with a neighbour')
    if not has_center:
        return CAUSES.index('without a centre')
    return CAUSES.index('poor outline' if holds[row, most] else 'split')


def _has_another_class(joined: Overlaps, row: int) -> bool:
    """Tell whether a segment of another class has an IoU above 0.5 with a labelled one."""
    shared = joined.shared[row]
    union = joined.truth_areas[row] + joined.predicted_areas - shared - joined.on_void
    others = joined.classes != joined.truth_classes[row]
    return bool((others & (2 * shared > union)).any())


def _has_center(sample: Sample, segment_id: int, centers: np.ndarray) -> bool:
    """Tell whether one of (K, 2) centres (x, y) lies in the box of a labelled segment."""
    mask = sample.panoptic == segment_id
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = centers[:, 0], centers[:, 1]
    inside = (columns[0] - 0.5 <= x) & (x <= columns[-1] + 0.5)
    return bool((inside & (rows[0] - 0.5 <= y) & (y <= rows[-1] + 0.5)).any())
