"""From a labelled panoptic map to what the three heads shall predict (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pdl_ros.datasets.groups import Groups, are_things, ids_within
from pdl_ros.datasets.record import Segment
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.training.settings import TargetSettings, require_known

_PUBLISHED = TargetSettings()


class Targets(NamedTuple):
    """Training targets of one image of size (H, W); a weight of 0 takes the pixel out of that loss.

    semantic: (H, W) uint8 train ids or groups, 255 void. semantic_weight: (H, W) uint8,
    1, or more where small or rare.
    center_heatmap: (1, H, W) float32 in [0, 1]. center_weight: (1, H, W) uint8, 0 on void and
    crowds. offset: (2, H, W) float32, (dy, dx) to the mass centre, in pixels. offset_weight: (1, H,
    W) uint8, 1 on things, or on all that is labelled.
    """

    semantic: np.ndarray
    semantic_weight: np.ndarray
    center_heatmap: np.ndarray
    center_weight: np.ndarray
    offset: np.ndarray
    offset_weight: np.ndarray


def make_targets(
    panoptic: np.ndarray,
    segments: Sequence[Segment],
    label_set: LabelSet,
    settings: TargetSettings = _PUBLISHED,
    groups: Groups = (),
) -> Targets:
    """Draw the targets of a (H, W) int map of segment ids; pixels in no segment are void.

    groups: classes that the labels do not tell apart; segments and targets name group g as class
    number of classes + g.
    """
    height, width = panoptic.shape
    things = are_things(label_set, groups)
    weights = _class_weights(label_set, groups, settings)
    targets = Targets(
        np.full((height, width), SEMANTIC_VOID, np.uint8),
        np.ones((height, width), np.uint8),
        np.zeros((1, height, width), np.float32),
        np.zeros((1, height, width), np.uint8),
        np.zeros((2, height, width), np.float32),
        np.zeros((1, height, width), np.uint8),
    )
    gaussian = _gaussian(settings.sigma)
    for segment in segments:
        ys, xs = np.nonzero(panoptic == segment.id)
        if not len(ys):
            continue  # cropped away
        is_thing = things[segment.class_id]
        if not (segment.is_crowd and settings.ignore_crowd_in_semantic):
            targets.semantic[ys, xs] = segment.class_id
        if not segment.is_crowd:
            targets.center_weight[0, ys, xs] = 1
            targets.offset_weight[0, ys, xs] = is_thing or not settings.ignore_stuff_in_offset
        if weights[segment.class_id] > 1:
            targets.semantic_weight[ys, xs] = weights[segment.class_id]
        if is_thing:
            # The mass centre of what is visible in this crop, as all published code has it.
            y, x = ys.mean(), xs.mean()
            if len(ys) < settings.small_area:
                weight = max(settings.small_weight, weights[segment.class_id])
                targets.semantic_weight[ys, xs] = weight
            if not (segment.is_crowd and settings.ignore_crowd_in_center):
                _draw_max(targets.center_heatmap[0], gaussian, round(float(y)), round(float(x)))
            targets.offset[0, ys, xs] = y - ys
            targets.offset[1, ys, xs] = x - xs
    return targets


def _class_weights(label_set: LabelSet, groups: Groups, settings: TargetSettings) -> list[int]:
    """Return what a pixel of each class, and then of each group, weighs. A group is rare where all
    of its classes are.
    """
    names = [c.name for c in label_set.classes]
    require_known('rare_classes', settings.rare_classes, names)
    rare = ids_within(settings.rare_classes, label_set, groups)
    return [settings.rare_weight if i in rare else 1 for i in range(len(names) + len(groups))]


def _gaussian(sigma: float) -> np.ndarray:
    """A window of side 6σ+3 with the value 1 in the middle."""
    radius = round(3 * sigma + 1)
    axis = np.arange(-radius, radius + 1, dtype=np.float64)
    return np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))


def _draw_max(heatmap: np.ndarray, gaussian: np.ndarray, y: int, x: int) -> None:
    """Keep the maximum of `heatmap` and the window centred on (y, x), clipped at the borders."""
    radius = gaussian.shape[0] // 2
    top, left = y - radius, x - radius
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(y + radius + 1, heatmap.shape[0]), min(x + radius + 1, heatmap.shape[1])
    region = heatmap[y0:y1, x0:x1]
    np.maximum(
        region,
        gaussian[y0 - top : y1 - top, x0 - left : x1 - left],
        out=region,
        casting='same_kind',
    )
