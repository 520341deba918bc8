"""The class of a pixel: the one with the largest logit."""

from __future__ import annotations

import torch
from torch import Tensor

from pdl_ros.fusion.limits import LEAST_EVIDENCE
from pdl_ros.labels.label_set import SEMANTIC_VOID


def classify(logits: Tensor) -> Tensor:
    """Return the (H, W) int64 classes of (C, H, W) logits; a tie goes to the smallest class.

    A pixel without evidence for any class is SEMANTIC_VOID.
    """
    best = logits.amax(0)
    # torch.argmax promises no order among ties.
    classes = torch.arange(len(logits), device=logits.device).view(-1, 1, 1)
    first = torch.where(logits == best, classes, len(logits)).amin(0)
    return torch.where(best > LEAST_EVIDENCE, first, SEMANTIC_VOID)
