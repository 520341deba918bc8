"""The three losses (paper, section 3.4): L = λ_sem · L_sem + λ_center · L_center + λ_offset ·
L_offset.

Each is a mean over the batch of all processes that share it: a process's own part of it times the
number of processes, because gradients are averaged over them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.datasets.groups import Groups
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import resize
from pdl_ros.network.settings import DecoderSettings
from pdl_ros.training.distributed import gathered, summed, world_size
from pdl_ros.training.settings import LossSettings


def panoptic_loss(
    heads: HeadOutputs,
    targets: dict[str, Tensor],
    settings: LossSettings,
    decoder: DecoderSettings,
    groups: Groups = (),
) -> dict[str, Tensor]:
    """Return the weighted losses {'semantic', 'center', 'offset'} of a batch; their sum is trained.

    `targets` are the fields of `Targets`, stacked: (N, H, W) and (N, k, H, W). Predictions are
    brought to the size of the targets first. The centre loss is the squared error or, of a head
    that ends in a sigmoid, the cross entropy. `groups` are those of the labels.
    """
    size = targets['semantic'].shape[-2:]
    semantic, center, offset = (
        resize(h, size, decoder.align_corners)
        for h in (heads.semantic, heads.center_heatmap, heads.offset)
    )
    return {
        'semantic': settings.semantic
        * bootstrapped_cross_entropy(
            semantic,
            targets['semantic'].long(),
            targets['semantic_weight'],
            settings.top_fraction,
            settings.top_of,
            groups,
        ),
        'center': settings.center
        * _weighted_mean(
            _center_loss(center, targets['center_heatmap'], decoder.center_sigmoid),
            targets['center_weight'],
        ),
        'offset': settings.offset
        * _weighted_mean((offset - targets['offset']).abs(), targets['offset_weight']),
    }


def bootstrapped_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor,
    top_fraction: float,
    top_of: str = 'batch',
    groups: Groups = (),
) -> Tensor:
    """Average the weighted cross entropy over the hardest `top_fraction` of all pixels (DeeperLab)
    of the batch, or of each sample.

    logits (N, C, H, W), labels (N, H, W) with 255 = void, weights (N, H, W). Void pixels have loss
    0 but count as pixels, as in the published code.
    """
    losses = joined_cross_entropy(logits, labels, groups) * weights
    if top_fraction >= 1.0:
        return losses.mean()
    rows = losses.flatten(1) if top_of == 'sample' else losses.flatten()
    if top_of == 'batch' and world_size() > 1:
        return _mean_of_hardest_everywhere(rows, top_fraction)
    keep = max(int(top_fraction * rows.shape[-1]), 1)
    return torch.topk(rows, keep, sorted=False).values.mean()


def joined_cross_entropy(logits: Tensor, labels: Tensor, groups: Groups) -> Tensor:
    """Return the (N, H, W) cross entropy; where a label is C + g, one of the classes of group g:
    -log of the sum of their probabilities.
    """
    if not groups:
        return F.cross_entropy(logits, labels, ignore_index=SEMANTIC_VOID, reduction='none')
    single = F.log_softmax(logits, 1)
    joined = [single[:, list(group)].logsumexp(1, keepdim=True) for group in groups]
    every = torch.cat([single, *joined], 1)
    return F.nll_loss(every, labels, ignore_index=SEMANTIC_VOID, reduction='none')


def _center_loss(heatmap: Tensor, target: Tensor, is_probability: bool) -> Tensor:
    if not is_probability:
        return (heatmap - target).square()
    # PyTorch's own refuses probabilities in half precision.
    p = heatmap.float().clamp(1e-6, 1 - 1e-6)
    return -(target * p.log() + (1 - target) * (1 - p).log())


def _mean_of_hardest_everywhere(losses: Tensor, fraction: float) -> Tensor:
    """This process's part of the mean over the hardest pixels of all processes."""
    everywhere = gathered(losses)
    keep = max(int(fraction * everywhere.numel()), 1)
    least = torch.topk(everywhere, keep, sorted=False).values.min()
    # Of those that equal the least, only so many belong to the hardest.
    equal = (keep - (everywhere > least).sum()) / (everywhere == least).sum()
    part = losses[losses > least].sum() + equal * losses[losses == least].sum()
    return part * (world_size() / keep)


def _weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels, mean over the weighted pixels; 0 where there are none."""
    # detectron2's normaliser: a sum over both offset channels by the number of pixels, not twice
    # it.
    pixels = summed(weights.sum()).clamp(min=1)
    return (values * weights).sum() / pixels * world_size()
