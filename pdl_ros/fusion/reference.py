"""The fusion of one frame, step by step as the paper tells it: the definition that the fast kernels
are tested against.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pdl_ros.fusion.centers import find_centers
from pdl_ros.fusion.classes import classify
from pdl_ros.fusion.components import find_components
from pdl_ros.fusion.grouping import group_pixels
from pdl_ros.fusion.limits import NO_EVIDENCE
from pdl_ros.fusion.result import PanopticResult, SegmentTable
from pdl_ros.fusion.sampling import Grids, sample, usable
from pdl_ros.fusion.scores import believed, score_instances
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.fusion.voting import majority_vote, number_within_class, split_outvoted
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID


def fuse_frame(
    semantic_head: Tensor,
    center_heatmap: Tensor,
    offset_head: Tensor,
    grids: Grids,
    label_set: LabelSet,
    settings: FusionSettings,
) -> PanopticResult:
    """Do for one frame what `fuse` promises, one readable step after the other.

    All steps run at the output size, on the device of the heads; only centres are sought on a finer
    grid where that is too coarse. Section 3.3 of the paper; ties and limits are those of the
    published PyTorch code.
    """
    axes = grids.output
    scale_y, scale_x = (axis.scale if settings.rescale else 1.0 for axis in axes)
    scaled = settings.scaled(axes[0].scale, axes[1].scale)
    logits = sample(usable(semantic_head, NO_EVIDENCE), axes)
    heat = usable(center_heatmap, 0.0)
    heatmap, sought = (sample(heat, way)[0] for way in (axes, grids.centers))
    offset = sample(usable(offset_head, math.nan), axes)
    offset = offset * offset.new_tensor([scale_y, scale_x]).view(2, 1, 1)

    semantic = classify(logits)
    is_thing = torch.zeros(256, dtype=torch.bool, device=semantic.device)
    is_thing[list(label_set.thing_ids)] = True
    pixels = torch.nonzero(is_thing[semantic])
    peaks = find_centers(sought, settings.center_threshold, scaled.nms_kernel, settings.top_k)
    centers, heights = grids.to_output(peaks), sought[peaks.unbind(1)]
    if len(centers) or settings.without_center == 'void':
        nearest = group_pixels(centers, offset, pixels)
    else:
        parts = find_components(
            semantic.byte().cpu().numpy(), label_set, scaled.stuff_area, settings.top_k
        )
        centers = torch.from_numpy(parts.center).to(offset)
        nearest = torch.from_numpy(parts.number).to(pixels)[pixels.unbind(1)]
        # No centre speaks for or against them, wherever objectness is read otherwise.
        heights, heatmap = offset.new_zeros(len(centers)), torch.zeros_like(heatmap)
        scaled = replace(scaled, score_threshold=0.0)
    grouped = nearest > 0  # things without a centre or an offset stay void
    pixels, nearest = pixels[grouped], nearest[grouped]
    if settings.outvoted_area and len(centers):
        nearest = split_outvoted(
            nearest,
            semantic[pixels.unbind(1)],
            len(centers),
            label_set.num_classes,
            scaled.outvoted_area,
        )
        # The objectness is that of the centre that they point to; their own would be their mean.
        own = torch.zeros((2 * len(centers), 2), dtype=torch.float64, device=pixels.device)
        area = torch.bincount(nearest - 1, minlength=len(own)).clamp(min=1)
        own.index_add_(0, nearest - 1, pixels.double())
        middle = (own / area[:, None])[len(centers) :].to(centers.dtype)
        centers, heights = torch.cat([centers, middle]), torch.cat([heights, heights])
    things, running, panoptic_ids = _thing_rows(
        pixels, nearest, centers, heights, semantic, logits, heatmap, label_set, scaled
    )
    stuff, stuff_ids = _stuff_rows(semantic, is_thing, scaled.stuff_area, label_set)

    instance = torch.zeros(semantic.shape, dtype=torch.int32, device=semantic.device)
    panoptic = stuff_ids[semantic]
    at = pixels.unbind(1)
    instance[at] = running[nearest]
    panoptic[at] = panoptic_ids[nearest]
    segments = SegmentTable(*(torch.cat(pair) for pair in zip(things, stuff, strict=True)))
    return PanopticResult(semantic.to(torch.uint8), instance, panoptic, segments)


def _thing_rows(
    pixels: Tensor,
    nearest: Tensor,
    centers: Tensor,
    heights: Tensor,
    semantic: Tensor,
    logits: Tensor,
    heatmap: Tensor,
    label_set: LabelSet,
    scaled: FusionSettings,
) -> tuple[SegmentTable, Tensor, Tensor]:
    """Return the table of the instances that own pixels and reach the score, and two maps from
    centre index 0..K to label values. centers: (K, 2) float32 (y, x); heights: (K,) of the heatmap
    there.
    """
    ys, xs = pixels.unbind(1)
    count = len(centers)
    all_classes, all_areas = majority_vote(nearest, semantic[ys, xs], count, label_set.num_classes)
    found = torch.nonzero(all_areas)[:, 0]
    classes = all_classes[found]
    kept = torch.arange(len(found), device=pixels.device)
    position = kept.new_zeros(count + 1)
    position[found + 1] = kept
    row = position[nearest]
    scores = score_instances(
        heatmap, logits[:, ys, xs], pixels, row, classes, heights[found], scaled
    )
    if scaled.score_threshold:
        kept = kept[believed(scores.score, all_areas[found], scaled)]
    # An id has room for label_divisor - 1 instances of a class; what is beyond them is void.
    numbers = number_within_class(classes[kept], label_set.num_classes)
    fits = numbers < label_set.label_divisor
    kept, numbers = kept[fits], numbers[fits]
    at, classes = found[kept], classes[kept]
    running = torch.zeros(count + 1, dtype=torch.int32, device=pixels.device)
    running[at + 1] = torch.arange(1, len(kept) + 1, dtype=torch.int32, device=pixels.device)
    ids = (classes * label_set.label_divisor + numbers).int()
    panoptic_ids = torch.full((count + 1,), PANOPTIC_VOID, dtype=torch.int32, device=pixels.device)
    panoptic_ids[at + 1] = ids
    table = SegmentTable(
        id=ids,
        class_id=classes.int(),
        is_thing=torch.ones_like(classes, dtype=torch.bool),
        instance_id=running[at + 1],
        area=all_areas[at].int(),
        score=scores.score[kept],
        objectness=scores.objectness[kept],
        class_score=scores.class_score[kept],
        box=_boxes(ys, xs, row, len(found))[kept],
        center=centers[at].flip(1),
    )
    return table, running, panoptic_ids


def _stuff_rows(
    semantic: Tensor, is_thing: Tensor, stuff_area: int, label_set: LabelSet
) -> tuple[SegmentTable, Tensor]:
    """Return the table of stuff large enough to count, and the (256,) int32 map from class to
    panoptic id.
    """
    area = torch.bincount(semantic.flatten(), minlength=256)[: label_set.num_classes]
    kept = torch.nonzero((area >= max(stuff_area, 1)) & ~is_thing[: label_set.num_classes])[:, 0]
    ids = (kept * label_set.label_divisor).int()
    panoptic_ids = torch.full((256,), PANOPTIC_VOID, dtype=torch.int32, device=semantic.device)
    panoptic_ids[kept] = ids
    none = torch.zeros(len(kept), device=semantic.device)
    table = SegmentTable(
        id=ids,
        class_id=kept.int(),
        is_thing=none.bool(),
        instance_id=none.int(),
        area=area[kept].int(),
        score=none,
        objectness=none,
        class_score=none,
        box=none.int()[:, None].repeat(1, 4),
        center=none[:, None].repeat(1, 2),
    )
    return table, panoptic_ids


def _boxes(ys: Tensor, xs: Tensor, row: Tensor, count: int) -> Tensor:
    """(count, 4) int32 of (x0, y0, x1, y1), the last two exclusive."""
    sides = []
    for values, reduce in ((xs, 'amin'), (ys, 'amin'), (xs + 1, 'amax'), (ys + 1, 'amax')):
        side = torch.zeros(count, dtype=torch.int64, device=xs.device)
        sides.append(side.scatter_reduce(0, row, values, reduce, include_self=False))
    return torch.stack(sides, 1).int()
