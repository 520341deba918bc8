"""From what the kernels counted to the segment table: the last, small step of the fast paths.

Every shape here depends on the settings, never on the data, so that a GPU can run on without
waiting for the host.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from pdl_ros.fusion.result import SegmentTable
from pdl_ros.fusion.scores import believed, combine
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.fusion.voting import number_within_class, winners
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID


class Counts(NamedTuple):
    """What was counted around K centres, some of which may be empty slots that own no pixel.

    votes: (K, T) int64 pixels by thing class. probability: (K, T) float64 summed softmax. box: (K,
    4) int32 (x0, y0, x1, y1), exclusive. center: (K, 2) float32 (x, y). objectness: (K,) float32.
    area: (256,) int64 pixels by class, of all pixels.
    """

    votes: Tensor
    probability: Tensor
    box: Tensor
    center: Tensor
    objectness: Tensor
    area: Tensor


class Labels(NamedTuple):
    """What to write into the label maps, all int32.

    running, panoptic: (K + 1,) by centre index 1..K, 0 is none. stuff: (256,) panoptic id by class.
    """

    running: Tensor
    panoptic: Tensor
    stuff: Tensor


def tabulate(
    counts: Counts,
    label_set: LabelSet,
    scaled: FusionSettings,
    has_center: bool | Tensor,
) -> tuple[SegmentTable, Labels]:
    """Return a table of K + C rows, of which those with id -1 are no segments, and the labels.

    scaled: the settings in output pixels. has_center: () bool, whether the frame has one; without,
    scores decide nothing.
    """
    things, running, panoptic_ids = _things(counts, label_set, scaled, has_center)
    stuff, stuff_ids = _stuff(counts.area, label_set, scaled.stuff_area)
    table = SegmentTable(*(torch.cat(pair) for pair in zip(things, stuff, strict=True)))
    return table, Labels(running, panoptic_ids, stuff_ids)


@lru_cache(maxsize=8)
def thing_classes(label_set: LabelSet, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the (T,) int32 ids of the thing classes, T >= 1, and the (256,) int32 position of each
    class among them, -1 for the others.

    Kept from frame to frame: a copy to a GPU would wait for all that it still has to do.
    """
    ids = label_set.thing_ids
    position = torch.full((256,), -1, dtype=torch.int32)
    position[list(ids)] = torch.arange(len(ids), dtype=torch.int32)
    return torch.tensor(ids or (0,), dtype=torch.int32).to(device), position.to(device)


def _things(
    counts: Counts, label_set: LabelSet, scaled: FusionSettings, has_center: bool | Tensor
) -> tuple[SegmentTable, Tensor, Tensor]:
    votes, device = counts.votes, counts.votes.device
    class_of_thing, _ = thing_classes(label_set, device)
    area = votes.sum(1)
    winner = winners(votes)
    classes = class_of_thing[winner].long()
    probability = counts.probability.gather(1, winner[:, None])[:, 0]
    class_score = (probability / area.clamp(min=1)).float()
    score = combine(counts.objectness, class_score, scaled.score)
    found = area > 0
    if scaled.score_threshold:
        found = found & (believed(score, area, scaled) | ~torch.as_tensor(has_center))
    # Empty slots are numbered as a class of their own.
    numbers = number_within_class(
        torch.where(found, classes, label_set.num_classes), label_set.num_classes + 1
    )
    # An id has room for label_divisor - 1 instances of a class; what is beyond them is void.
    kept = found & (numbers < label_set.label_divisor)
    running = torch.where(kept, kept.cumsum(0), 0).int()
    ids = (classes * label_set.label_divisor + numbers).int()
    table = SegmentTable(
        id=torch.where(kept, ids, -1),
        class_id=classes.int(),
        is_thing=torch.ones_like(kept),
        instance_id=running,
        area=area.int(),
        score=score,
        objectness=counts.objectness,
        class_score=class_score,
        box=counts.box,
        center=counts.center,
    )
    panoptic_ids = torch.where(kept, ids, PANOPTIC_VOID)
    none = running.new_zeros(1)
    return table, torch.cat([none, running]), torch.cat([none + PANOPTIC_VOID, panoptic_ids])


def _stuff(area: Tensor, label_set: LabelSet, stuff_area: int) -> tuple[SegmentTable, Tensor]:
    count, device = label_set.num_classes, area.device
    classes = torch.arange(256, dtype=torch.int32, device=device)
    _, position = thing_classes(label_set, device)
    kept = (area >= max(stuff_area, 1)) & (position < 0) & (classes < count)
    ids = classes * label_set.label_divisor
    none = torch.zeros(count, device=device)
    table = SegmentTable(
        id=torch.where(kept, ids, -1)[:count],
        class_id=classes[:count],
        is_thing=none.bool(),
        instance_id=none.int(),
        area=area[:count].int(),
        score=none,
        objectness=none,
        class_score=none,
        box=none.int()[:, None].repeat(1, 4),
        center=none[:, None].repeat(1, 2),
    )
    return table, torch.where(kept, ids, PANOPTIC_VOID)
