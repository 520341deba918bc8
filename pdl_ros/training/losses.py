"""The three losses (paper, section 3.4): L = λ_sem · L_sem + λ_center · L_center + λ_offset ·
L_offset.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import resize
from pdl_ros.training.settings import LossSettings


def panoptic_loss(
    heads: HeadOutputs, targets: dict[str, Tensor], settings: LossSettings, align_corners: bool
) -> dict[str, Tensor]:
    """Return the weighted losses {'semantic', 'center', 'offset'} of a batch; their sum is trained.

    `targets` are the fields of `Targets`, stacked: (N, H, W) and (N, k, H, W). Predictions are
    brought to the size of the targets first.
    """
    size = targets['semantic'].shape[-2:]
    semantic, center, offset = (
        resize(h, size, align_corners) for h in (heads.semantic, heads.center_heatmap, heads.offset)
    )
    return {
        'semantic': settings.semantic
        * bootstrapped_cross_entropy(
            semantic, targets['semantic'].long(), targets['semantic_weight'], settings.top_fraction
        ),
        'center': settings.center
        * _weighted_mean((center - targets['center_heatmap']).square(), targets['center_weight']),
        'offset': settings.offset
        * _weighted_mean((offset - targets['offset']).abs(), targets['offset_weight']),
    }


def bootstrapped_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor, top_fraction: float
) -> Tensor:
    """Average the weighted cross entropy over the hardest `top_fraction` of all pixels (DeeperLab).

    logits (N, C, H, W), labels (N, H, W) with 255 = void, weights (N, H, W). Void pixels have loss
    0 but count as pixels, as in the published code.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=SEMANTIC_VOID, reduction='none') * weights
    if top_fraction >= 1.0:
        return losses.mean()
    keep = max(int(top_fraction * losses.numel()), 1)
    return torch.topk(losses.flatten(), keep, sorted=False).values.mean()


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels, mean over the weighted pixels; 0 where there are none."""
    # detectron2's normaliser: a sum over both offset channels by the number of pixels, not twice
    # it.
    return (values * weights).sum() / weights.sum().clamp(min=1)
