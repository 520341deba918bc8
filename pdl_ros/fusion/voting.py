"""Majority vote: an instance is what most of its pixels are (DeeperLab's merging; paper, section
3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor


def majority_vote(
    instance: Tensor, semantic: Tensor, count: int, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Return (class, area) of instances 1..count, each (count,) int64, from M thing pixels.

    instance (M,) int64 in 1..count, semantic (M,) int64. A tie goes to the smallest class id.
    Instances without pixels have area 0.
    """
    votes = torch.bincount((instance - 1) * num_classes + semantic, minlength=count * num_classes)
    votes = votes.view(count, num_classes)
    # argmax promises no order among ties; a smaller class id wins by this key.
    key = votes * num_classes + torch.arange(num_classes - 1, -1, -1, device=votes.device)
    return key.argmax(1), votes.sum(1)


def number_within_class(classes: Tensor, num_classes: int) -> Tensor:
    """Number instances of the same class 1, 2, … in order of appearance: (K,) int64 -> (K,)
    int64.
    """
    one_hot = classes[:, None] == torch.arange(num_classes, device=classes.device)
    return one_hot.cumsum(0).gather(1, classes[:, None])[:, 0]
