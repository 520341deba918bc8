"""The fusion on a GPU: `reference.fuse_frame`, bit for bit, without waiting for the host.

The host only launches: how many centres and segments there are stays on the device, in slots whose
number follows from the settings. So tables have empty rows, with id -1, until `PanopticResult.cpu`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pdl_ros.fusion.centers import peaks
from pdl_ros.fusion.components_triton import (
    begin_components,
    count_components,
    join_components,
    measure_components,
    number_components,
)
from pdl_ros.fusion.kernels_triton import (
    classify_and_group,
    split_outvoted,
    sum_probability,
    write_labels,
)
from pdl_ros.fusion.limits import LEAST_EVIDENCE, NO_EVIDENCE, PROBABILITY_UNIT
from pdl_ros.fusion.result import PanopticResult
from pdl_ros.fusion.sampling import Grids, sample, usable
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.fusion.tables import Counts, tabulate, thing_classes
from pdl_ros.fusion.voting import outvoted, winners
from pdl_ros.labels import LabelSet

_BLOCK = 512
_LARGE_BLOCK = 4096


class _Centers(NamedTuple):
    """K slots, of which the first `used` are centres on their grid: (K, 2) int64 (y, x), (K,)
    float32 heights.
    """

    at: Tensor
    height: Tensor
    used: Tensor


def fuse_frame(
    logits: Tensor,
    heatmap: Tensor,
    offset: Tensor,
    grids: Grids,
    label_set: LabelSet,
    settings: FusionSettings,
) -> PanopticResult:
    """Do for one frame what `fuse` promises, on the device of the heads."""
    device, axes = logits.device, grids.output
    size = len(axes[0].lower), len(axes[1].lower)
    scaled = settings.scaled(axes[0].scale, axes[1].scale)
    heat = usable(heatmap, 0.0)
    sought = sample(heat, grids.centers)[0]
    centers = _find_centers(sought, settings.center_threshold, scaled.nms_kernel, settings.top_k)
    at = grids.to_output(centers.at)
    class_of_thing, thing_index = thing_classes(label_set, device)
    things = len(class_of_thing)
    slots, pixels = len(centers.at), size[0] * size[1]
    rows = slots * (2 if settings.outvoted_area else 1)
    semantic = torch.empty(size, dtype=torch.uint8, device=device)
    instance, panoptic = torch.empty((2, *size), dtype=torch.int32, device=device)
    area = torch.zeros(256, dtype=torch.int64, device=device)
    votes = torch.zeros((rows, things), dtype=torch.int32, device=device)
    box = torch.full((rows, 4), -1, dtype=torch.int32, device=device)
    box[:, :2] = torch.iinfo(torch.int32).max
    moment = torch.zeros((rows, 2), dtype=torch.int64, device=device)
    ways = [t.int() if t.dtype == torch.int64 else t for axis in axes for t in axis[:3]]
    scale = [axis.scale if settings.rescale else 1.0 for axis in axes]
    center_y, center_x = at.unbind(1)
    # One program a block; without fusing a product with its sum, as the definition rounds both.
    grid, exact = (-(-pixels // _BLOCK),), {'BLOCK': _BLOCK, 'enable_fp_fusion': False}
    classify_and_group[grid](
        logits, *logits.stride(), len(logits), offset, *offset.stride(), *scale, *ways,
        center_y.contiguous(), center_x.contiguous(), centers.used, thing_index, things,
        semantic, instance, area, votes, box, moment, *size,
        NO_EVIDENCE=NO_EVIDENCE, LEAST_EVIDENCE=LEAST_EVIDENCE, **exact,
    )  # fmt: skip
    if settings.without_center == 'components':
        _group_components(
            semantic, thing_index, things, centers.used, instance, votes, box, moment,
            scaled.stuff_area, slots,
        )  # fmt: skip
    height = centers.height
    if settings.outvoted_area:
        second = outvoted(votes[:slots], scaled.outvoted_area).int()
        for counter, nothing in ((votes, 0), (moment, 0), (box, -1)):
            counter.fill_(nothing)
        box[:, :2] = torch.iinfo(torch.int32).max
        split_outvoted[grid](
            semantic, thing_index, things, second, slots, instance, votes, box, moment,
            size[1], size[0], BLOCK=_BLOCK,
        )  # fmt: skip
        height = torch.cat([height, height])
    probability = torch.zeros((rows, things), dtype=torch.int64, device=device)
    sum_probability[grid](
        logits, *logits.stride(), len(logits), *ways,
        instance, winners(votes).int(), things, class_of_thing, probability, *size,
        NO_EVIDENCE=NO_EVIDENCE, UNIT=float(PROBABILITY_UNIT), **exact,
    )  # fmt: skip
    objectness = height
    if settings.objectness == 'mask_centroid':
        y, x = (moment // votes.sum(1, keepdim=True).clamp(min=1)).unbind(1)
        objectness = sample(heat, axes)[0, y, x]
    if settings.outvoted_area:
        at = torch.cat([at, _middles(moment[slots:], votes[slots:])])
    if settings.without_center == 'components':
        at = torch.where(centers.used > 0, at, _middles(moment, votes))
        objectness = torch.where(centers.used > 0, objectness, 0.0)
    ends = torch.cat([box[:, :2], box[:, 2:] + 1], 1)
    counts = Counts(
        votes.long(),
        probability.double() / PROBABILITY_UNIT,
        ends,
        at.flip(1),
        objectness,
        area,
    )
    table, labels = tabulate(counts, label_set, scaled, centers.used > 0)
    write_labels[grid](semantic, instance, panoptic, *labels, pixels, BLOCK=_BLOCK)
    return PanopticResult(semantic, instance, panoptic, table)


def _middles(moment: Tensor, votes: Tensor) -> Tensor:
    """Return the means (y, x) of the pixels of each slot: (K, 2) float32."""
    return (moment.double() / votes.sum(1, keepdim=True).clamp(min=1)).float()


def _group_components(
    semantic: Tensor,
    thing_index: Tensor,
    things: int,
    centers: Tensor,
    instance: Tensor,
    votes: Tensor,
    box: Tensor,
    moment: Tensor,
    smallest: int,
    most: int,
) -> None:
    """Put components in the place of centres in a frame without any; `centers`: how many it has."""
    (height, width), pixels = semantic.shape, semantic.numel()
    grid, frame = (-(-pixels // _BLOCK),), (width, height)
    numbers, parent = torch.empty((2, pixels), dtype=torch.int32, device=semantic.device)
    begin_components[grid](semantic, thing_index, centers, parent, numbers, *frame, BLOCK=_BLOCK)
    join_components[grid](semantic, centers, parent, *frame, BLOCK=_BLOCK)
    measure_components[grid](centers, parent, numbers, *frame, BLOCK=_BLOCK)
    number_components[(1,)](
        centers, parent, numbers, *frame, max(smallest, 1), most,
        BLOCK=_LARGE_BLOCK,
    )  # fmt: skip
    count_components[grid](
        semantic, thing_index, things, centers, parent, numbers, instance, votes, box, moment,
        *frame, BLOCK=_BLOCK,
    )  # fmt: skip


def _find_centers(heatmap: Tensor, threshold: float, kernel: int, top_k: int) -> _Centers:
    """Do what `centers.find_centers` does, with as many slots as there can be centres."""
    found = peaks(heatmap, threshold, kernel).flatten()
    heights, at = torch.topk(found, min(top_k, len(found)))
    limit = heights[-1].clamp(min=0) if len(found) >= top_k else heights.new_zeros(())
    kept = heights > limit
    # Reading order, unused slots last.
    at, order = torch.where(kept, at, len(found)).sort()
    width = heatmap.shape[1]
    at = torch.where(at < len(found), at, 0)
    used = kept.sum(dtype=torch.int32)
    return _Centers(torch.stack([at // width, at % width], 1), heights[order], used)
