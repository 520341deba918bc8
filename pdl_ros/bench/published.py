"""The fusion as it is published, in our words and in plain PyTorch, to be timed beside ours.

It does what the released code does in the way that it does it: all heads enlarged to the output
size, softmax over all of them, a distance from every pixel to every centre at once, and a loop over
the instances. `fusion.reference` is another matter: the definition of what *our* fusion gives.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.fusion import FusionSettings
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.network.heads import HeadOutputs


class Instance(NamedTuple):
    """What the published code hands on of an instance, with its full-size mask."""

    panoptic_id: int
    class_id: int
    score: float
    box: tuple[int, int, int, int]
    area: int
    mask: Tensor


@torch.inference_mode()
def fuse_as_published(
    heads: HeadOutputs, label_set: LabelSet, settings: FusionSettings, size: tuple[int, int]
) -> tuple[Tensor, list[Instance]]:
    """Return the (H, W) int32 panoptic map of one frame and its instances."""
    logits, heatmap, offset = (
        F.interpolate(head, size, mode='bilinear', align_corners=settings.align_corners)[0]
        for head in heads[:3]
    )
    semantic = logits.softmax(0).argmax(0)
    is_thing = torch.zeros(label_set.num_classes, dtype=torch.bool, device=semantic.device)
    is_thing[list(label_set.thing_ids)] = True
    thing_mask = is_thing[semantic]
    centers = _centers(heatmap, settings)
    instance = _group(centers, offset) * thing_mask if len(centers) else torch.zeros_like(semantic)
    panoptic = _merge(semantic, instance, thing_mask, label_set, settings)
    return panoptic, _instances(panoptic, logits, heatmap[0], label_set)


def _centers(heatmap: Tensor, settings: FusionSettings) -> Tensor:
    heatmap = F.threshold(heatmap, settings.center_threshold, -1)
    kernel = settings.nms_kernel
    pooled = F.max_pool2d(heatmap[None], kernel, stride=1, padding=kernel // 2)[0]
    heatmap = torch.where(heatmap == pooled, heatmap, -1)[0]
    limit = torch.topk(heatmap.flatten(), settings.top_k).values[-1].clamp(min=0)
    return torch.nonzero(heatmap > limit)


def _group(centers: Tensor, offset: Tensor) -> Tensor:
    height, width = offset.shape[1:]
    rows, columns = (torch.arange(n, device=offset.device) for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing='ij')
    points = (torch.stack([y, x]) + offset).flatten(1).T  # (H·W, 2)
    distance = torch.linalg.vector_norm(centers[:, None] - points, dim=-1)  # (K, H·W)
    return (distance.argmin(0) + 1).view(height, width)


def _merge(
    semantic: Tensor,
    instance: Tensor,
    thing_mask: Tensor,
    label_set: LabelSet,
    settings: FusionSettings,
) -> Tensor:
    panoptic = torch.full_like(semantic, PANOPTIC_VOID, dtype=torch.int32)
    counted = dict.fromkeys(range(label_set.num_classes), 0)
    for number in instance.unique().tolist():
        mask = (instance == number) & thing_mask
        if number and mask.any():
            class_id = int(semantic[mask].mode().values)
            counted[class_id] += 1
            panoptic[mask] = class_id * label_set.label_divisor + counted[class_id]
    for class_id in semantic.unique().tolist():
        mask = (semantic == class_id) & (instance == 0)
        if class_id not in label_set.thing_ids and mask.sum() >= settings.stuff_area:
            panoptic[mask] = class_id * label_set.label_divisor
    return panoptic


def _instances(
    panoptic: Tensor, logits: Tensor, heatmap: Tensor, label_set: LabelSet
) -> list[Instance]:
    probability = logits.softmax(0)
    found = []
    for panoptic_id in panoptic.unique().tolist():
        class_id = panoptic_id // label_set.label_divisor
        if panoptic_id == PANOPTIC_VOID or class_id not in label_set.thing_ids:
            continue
        mask = panoptic == panoptic_id
        y, x = torch.nonzero(mask, as_tuple=True)
        center = int(y.float().mean()), int(x.float().mean())
        score = probability[class_id][mask].mean() * heatmap[center]
        box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
        found.append(Instance(panoptic_id, class_id, float(score), box, len(y), mask))
    return found
