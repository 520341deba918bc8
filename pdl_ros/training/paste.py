"""Copy-paste: things of one picture put into another (Ghiasi et al., CVPR 2021), so that crowded
streets are seen more often than they were photographed.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import cv2
import numpy as np

from pdl_ros.datasets.record import Sample, Segment, unused_id

_LEAST = 200  # pixels; what is smaller is hardly ever whole


def paste_things(
    sample: Sample, donor: Sample, things: list[bool], rng: np.random.Generator
) -> Sample:
    """Return a crop with some of the things of another crop of the same size in front of it, each
    where it stood there.

    things: of each class id (and group), whether it is countable. Crowds, whose things nobody told
    apart, and what is cut down to a few pixels stay behind. The crop itself comes back where
    nothing is chosen.
    """
    chosen = [s for s in _whole(donor) if things[s.class_id] and rng.random() < 0.5]
    if not chosen:
        return sample
    first = unused_id(sample)
    panoptic, inside = sample.panoptic.copy(), np.zeros(sample.panoptic.shape, np.uint8)
    pasted = []
    for new, segment in enumerate(chosen, first):
        mask = donor.panoptic == segment.id
        panoptic[mask] = new
        inside[mask] = 1
        pasted.append(Segment(new, segment.class_id))
    # Soft edges: a network would learn to find hard ones.
    share = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)[..., None]
    image = sample.image + (donor.image.astype(np.float32) - sample.image) * share
    return sample._replace(
        image=image.round().astype(np.uint8),
        panoptic=panoptic,
        segments=(*sample.segments, *pasted),
    )


def richest(crops: Sequence[Sample], rare: AbstractSet[int]) -> Sample:
    """Return the crop with the most things of some class ids (and groups) that can be pasted, of
    equal ones the first.
    """
    return max(crops, key=lambda crop: sum(s.class_id in rare for s in _whole(crop)))


def _whole(sample: Sample) -> list[Segment]:
    """Return the segments that are not crowds, and more than a few pixels."""
    ids, areas = np.unique(sample.panoptic, return_counts=True)
    area = dict(zip(ids.tolist(), areas.tolist(), strict=True))
    return [s for s in sample.segments if not s.is_crowd and area.get(s.id, 0) >= _LEAST]
