"""Instance scores: Score = Objectness × Class (paper, section 3.5), or one of the two."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pdl_ros.fusion.settings import FusionSettings


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
    heights: Tensor,
    settings: FusionSettings,
) -> Scores:
    """Score K instances from their M pixels.

    heatmap (H, W); logits (C, M) of the pixels; pixels (M, 2) int64 as (y, x); instance (M,) int64
    in 0..K-1; classes (K,) int64; heights (K,) of the heatmap at the centres. Class is the mean
    softmax probability of the instance's class in its mask; Objectness the heatmap at the centre,
    or at the truncated centroid of the mask.
    """
    count = len(classes)
    area = torch.bincount(instance, minlength=count).clamp(min=1)
    own = logits.gather(0, classes[instance][None])[0]
    probability = torch.exp(own - logits.logsumexp(0))
    class_score = (_sum_by(instance, probability, count) / area).float()
    if settings.objectness == 'mask_centroid':
        y, x = ((_sum_by(instance, axis, count) / area).long() for axis in pixels.unbind(1))
        heights = heatmap[y, x]
    return Scores(combine(heights, class_score, settings.score), heights, class_score)


def combine(objectness: Tensor, class_score: Tensor, score: str) -> Tensor:
    """Return the score that `FusionSettings.score` asks for."""
    if score == 'both':
        return objectness * class_score
    return class_score if score == 'semantic' else objectness


def believed(score: Tensor, area: Tensor, scaled: FusionSettings) -> Tensor:
    """Return which of K instances, of so many output pixels, `score_threshold` leaves: (K,) bool.
    scaled: the settings in output pixels.
    """
    enough = score >= scaled.score_threshold
    return enough | (area >= scaled.doubtful_area) if scaled.doubtful_area else enough


def _sum_by(index: Tensor, values: Tensor, count: int) -> Tensor:
    # In float64: a running float32 sum over a large mask is off by 1e-4.
    total = torch.zeros(count, dtype=torch.float64, device=values.device)
    return total.index_add_(0, index, values.double())
