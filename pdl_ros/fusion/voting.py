"""Majority vote: an instance is what most of its pixels are (DeeperLab's merging; paper, section
3.3); and who is outvoted.
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
    votes = _votes(instance, semantic, count, num_classes)
    return winners(votes), votes.sum(1)


def winners(votes: Tensor) -> Tensor:
    """Return the position of the class with most of (K, T) votes, the smallest of a tie: (K,)."""
    # argmax promises no order among ties; a smaller class wins by this key.
    order = torch.arange(votes.shape[1] - 1, -1, -1, device=votes.device)
    return (votes.long() * votes.shape[1] + order).argmax(1)


def outvoted(votes: Tensor, smallest: int) -> Tensor:
    """Return the position of the class that splits off each of K instances, -1 for none: (K,)
    int64, from (K, T) votes. It has the second most of them, three tenths or more of all, and
    `smallest` or more.
    """
    others = votes.long().scatter(1, winners(votes)[:, None], 0)
    second = winners(others)
    pixels = others.gather(1, second[:, None])[:, 0]
    large = (pixels >= max(smallest, 1)) & (10 * pixels >= 3 * votes.sum(1))
    return torch.where(large, second, -1)


def split_outvoted(
    instance: Tensor, semantic: Tensor, count: int, num_classes: int, smallest: int
) -> Tensor:
    """Return instances 1..2 * count, (M,) int64: what splits off instance k is count + k.

    instance, semantic: as in `majority_vote`. At most one class splits off an instance; pixels of a
    third stay with the majority.
    """
    other = outvoted(_votes(instance, semantic, count, num_classes), smallest)
    return torch.where(semantic == other[instance - 1], instance + count, instance)


def number_within_class(classes: Tensor, num_classes: int) -> Tensor:
    """Number instances of the same class 1, 2, … in order of appearance: (K,) int64 -> (K,)
    int64.
    """
    one_hot = classes[:, None] == torch.arange(num_classes, device=classes.device)
    return one_hot.cumsum(0).gather(1, classes[:, None])[:, 0]


def _votes(instance: Tensor, semantic: Tensor, count: int, num_classes: int) -> Tensor:
    """Count the pixels of each of instances 1..count by class: (count, num_classes) int64."""
    votes = torch.bincount((instance - 1) * num_classes + semantic, minlength=count * num_classes)
    return votes.view(count, num_classes)
