"""Instance scores: Score = Objectness × Class (paper, section 3.5)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Scores(NamedTuple):
    """Columns of length K, float32."""

    score: Tensor
    objectness: Tensor
    class_score: Tensor


def score_instances(
    heatmap: Tensor,
    logits: Tensor,
    pixels: Tensor,
    instance: Tensor,
    classes: Tensor,
    centers: Tensor,
    objectness: str,
) -> Scores:
    """Score K instances from their M pixels.

    heatmap (H, W); logits (C, M) of the pixels; pixels (M, 2) int64 as (y, x); instance (M,) int64
    in 0..K-1; classes (K,) int64; centers (K, 2) int64. Class is the mean softmax probability of
    the instance's class in its mask; Objectness the heatmap at the centre, or at the truncated
    centroid of the mask.
    """
    count = len(classes)
    area = torch.bincount(instance, minlength=count).clamp(min=1)
    own = logits.gather(0, classes[instance][None])[0]
    probability = torch.exp(own - logits.logsumexp(0))
    class_score = (_sum_by(instance, probability, count) / area).float()
    if objectness == 'mask_centroid':
        centers = torch.stack(
            [_sum_by(instance, axis, count) / area for axis in pixels.unbind(1)], 1
        ).long()
    at_center = heatmap[centers[:, 0], centers[:, 1]]
    return Scores(at_center * class_score, at_center, class_score)


def _sum_by(index: Tensor, values: Tensor, count: int) -> Tensor:
    # In float64: a running float32 sum over a large mask is off by 1e-4.
    total = torch.zeros(count, dtype=torch.float64, device=values.device)
    return total.index_add_(0, index, values.double())
