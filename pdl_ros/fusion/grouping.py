"""Grouping: every thing pixel belongs to the centre nearest to where its offset points (paper, eq.
1).
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_pixels(centers: Tensor, offset: Tensor, thing_pixels: Tensor) -> Tensor:
    """Return for M thing pixels the index 1..K of their centre, (M,) int64; 0 for all when there is
    no centre, and for pixels whose offset is NaN or infinite.

    centers (K, 2) float32 as (y, x); offset (2, H, W) as (dy, dx) pixels; thing_pixels (M, 2) int64
    as (y, x). Ties go to the centre that comes first. Offsets may point outside the image.
    """
    nearest = torch.zeros(len(thing_pixels), dtype=torch.int64, device=offset.device)
    if not len(centers):
        return nearest
    ys, xs = thing_pixels.unbind(1)
    target_y = ys + offset[0, ys, xs]
    target_x = xs + offset[1, ys, xs]
    best = torch.full_like(target_y, torch.inf)
    # A running minimum needs M numbers where the published distance tensor needs K·H·W, and gives
    # the same ids.
    for index, (y, x) in enumerate(centers):
        square = (y - target_y).square() + (x - target_x).square()
        # By way of float64, as PyTorch's float32 root may be one unit off, which breaks ties.
        distance = torch.sqrt(square.double()).float()
        closer = distance < best
        best = torch.where(closer, distance, best)
        nearest = torch.where(closer, index + 1, nearest)
    # So far away that float32 has no number for any distance: all tie, the first centre wins.
    nearest = nearest.clamp(min=1)
    return torch.where(target_y.isfinite() & target_x.isfinite(), nearest, 0)
