"""Centre points: the local maxima of the heatmap (paper, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def find_centers(heatmap: Tensor, threshold: float, kernel: int, top_k: int) -> Tensor:
    """Return the (K, 2) int64 (y, x) of the centres of an (H, W) heatmap, in row-major order.

    A centre exceeds `threshold`, is the maximum of its kernel×kernel window (every pixel of a
    plateau is), and exceeds the `top_k`-th largest such value: as published, with `top_k` or more
    peaks the k-th and all its ties are dropped.
    """
    found = peaks(heatmap, threshold, kernel)
    limit = found.new_tensor(0.0)
    if found.numel() >= top_k:
        limit = torch.topk(found.flatten(), top_k).values[-1].clamp(min=0)
    return torch.nonzero(found > limit)


def peaks(heatmap: Tensor, threshold: float, kernel: int) -> Tensor:
    """Return an (H, W) heatmap with -1 in place of all that is no peak above the threshold."""
    candidates = torch.where(heatmap > threshold, heatmap, -1.0)
    # A square maximum is the maximum of maxima along the axes, at 2k instead of k² comparisons.
    pooled = F.max_pool2d(candidates[None, None], (kernel, 1), 1, (kernel // 2, 0))
    pooled = F.max_pool2d(pooled, (1, kernel), 1, (0, kernel // 2))[0, 0]
    return torch.where(candidates == pooled, candidates, -1.0)
