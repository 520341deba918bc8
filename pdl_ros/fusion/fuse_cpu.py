# mypy: allow-untyped-defs, no-check-untyped-defs
"""The fusion on the CPU: `reference.fuse_frame`, bit for bit, from compiled kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pdl_ros.fusion.buffers import TILE_COLUMNS, TILE_ROWS, Tally, empty_tallies, worker_buffers
from pdl_ros.fusion.centers_cpu import find_centers, sample_points
from pdl_ros.fusion.components import find_components
from pdl_ros.fusion.grouping_cpu import nearby_centers
from pdl_ros.fusion.labels_cpu import write_labels
from pdl_ros.fusion.limits import PROBABILITY_UNIT
from pdl_ros.fusion.pixels_cpu import segment_strip
from pdl_ros.fusion.recount_cpu import split_outvoted, sum_probability
from pdl_ros.fusion.result import PanopticResult
from pdl_ros.fusion.sampling import Axis, Grids
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.fusion.tables import Counts, tabulate, thing_classes
from pdl_ros.fusion.views import axis_view, head_view
from pdl_ros.labels import LabelSet
from pdl_ros.runtime.thread_pool import num_threads, parallel_for


def fuse_frame(
    semantic_head: Tensor,
    center_heatmap: Tensor,
    offset_head: Tensor,
    grids: Grids,
    label_set: LabelSet,
    settings: FusionSettings,
) -> PanopticResult:
    """Do for one frame what `fuse` promises, on all cores."""
    logits, heatmap, offset = map(head_view, (semantic_head, center_heatmap, offset_head))
    axes = grids.output
    (down, along), grid = map(axis_view, axes), tuple(map(axis_view, grids.centers))
    size, workers = (len(down.lower), len(along.lower)), num_threads()
    strips = -(-size[0] // TILE_ROWS)
    scaled = settings.scaled(axes[0].scale, axes[1].scale)
    scale = tuple(np.float32(axis.scale if settings.rescale else 1) for axis in axes)
    peaks, heights = find_centers(
        heatmap, grid[0], grid[1], settings.center_threshold, scaled.nms_kernel, settings.top_k,
        workers,
    )  # fmt: skip
    centers = grids.to_output(torch.from_numpy(peaks)).numpy()
    nearby = nearby_centers(centers, *size, workers)
    class_of_thing, thing_index = thing_classes(label_set, torch.device('cpu'))
    things, index = len(class_of_thing), thing_index.numpy()
    semantic, instance = np.empty(size, np.uint8), np.empty(size, np.int32)
    tallies = empty_tallies(len(centers), things, workers)
    tiled = along.padded(TILE_COLUMNS)
    spaces = [worker_buffers(logits.channels, logits.width, things, along) for _ in tallies]
    parallel_for(
        lambda strip, worker: segment_strip(
            logits, offset, down, tiled, scale, nearby, index,
            semantic, instance, tallies[worker], *spaces[worker], strip,
        ),
        strips,
        len(tallies),
    )  # fmt: skip
    counts = _sum(tallies, centers, heights)
    moment = np.sum([tally.moment for tally in tallies], 0)
    if settings.outvoted_area:
        counts, moment = split_outvoted(
            counts, moment, semantic, instance, semantic_head, axes, class_of_thing,
            scaled.outvoted_area,
        )  # fmt: skip
    if settings.objectness == 'mask_centroid':
        ys, xs = moment.T // counts.votes.sum(1).clamp(min=1).numpy()
        read = sample_points(heatmap, down, along, ys, xs)
        counts = counts._replace(objectness=torch.from_numpy(read))
    if settings.without_center == 'components' and not len(centers):
        counts = _count_components(
            counts, semantic, instance, semantic_head, axes, label_set, scaled
        )
    table, labels = tabulate(counts, label_set, scaled, len(centers) > 0)
    panoptic = np.empty(size, np.int32)
    running, panoptic_ids, stuff_ids = (label.numpy() for label in labels)
    parallel_for(
        lambda strip, _: write_labels(
            semantic, instance, panoptic, running, panoptic_ids, stuff_ids, strip * TILE_ROWS
        ),
        strips,
        workers,
    )
    semantic_map, instance_map, panoptic_map = map(torch.from_numpy, (semantic, instance, panoptic))
    return PanopticResult(semantic_map, instance_map, panoptic_map, table.compact())


def _sum(tallies: list[Tally], centers: np.ndarray, heights: np.ndarray) -> Counts:
    area, votes, probability, box, _ = (np.stack(column) for column in zip(*tallies, strict=True))
    box = np.concatenate([box[..., :2].min(0), box[..., 2:].max(0) + 1], 1)
    return Counts(
        votes=torch.from_numpy(votes.sum(0)),
        probability=torch.from_numpy(probability.sum(0) / PROBABILITY_UNIT),
        box=torch.from_numpy(box),
        center=torch.from_numpy(centers[:, ::-1].copy()),
        objectness=torch.from_numpy(heights),
        area=torch.from_numpy(area.sum(0)),
    )


def _count_components(
    counts: Counts,
    semantic: np.ndarray,
    instance: np.ndarray,
    semantic_head: Tensor,
    axes: tuple[Axis, Axis],
    label_set: LabelSet,
    scaled: FusionSettings,
) -> Counts:
    """Count the components of a frame without centres as if they had been grouped, and write their
    numbers into the instance map.
    """
    things = np.array(label_set.thing_ids, np.int64)
    if not (counts.area.numpy()[things] >= max(scaled.stuff_area, 1)).any():
        return counts  # a road without cars costs nothing
    parts = find_components(semantic, label_set, scaled.stuff_area, scaled.top_k)
    instance[:] = parts.number
    class_id = torch.from_numpy(parts.class_id)
    count = len(class_id)
    votes = torch.zeros((count, len(things)), dtype=torch.int64)
    column = torch.from_numpy(np.searchsorted(things, parts.class_id))[:, None]
    votes.scatter_(1, column, torch.from_numpy(parts.area)[:, None])
    total = sum_probability(semantic_head, axes, parts.number, class_id[:, None])
    return Counts(
        votes=votes,
        probability=torch.zeros(votes.shape, dtype=torch.float64).scatter_(1, column, total),
        box=torch.from_numpy(parts.box),
        center=torch.from_numpy(parts.center[:, ::-1].copy()),
        objectness=torch.zeros(count),
        area=counts.area,
    )
