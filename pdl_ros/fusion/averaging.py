"""Test-time augmentation: several views of one frame, averaged (paper, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from pdl_ros.fusion.sampling import sample, sampling_axes
from pdl_ros.network.heads import HeadOutputs


class View(NamedTuple):
    """The heads of one view, the (height, width) of their input that is image, and whether it was
    mirrored.
    """

    heads: HeadOutputs
    valid: tuple[int, int]
    mirrored: bool


@torch.inference_mode()
def average_views(views: Iterable[View], size: tuple[int, int], align_corners: bool) -> HeadOutputs:
    """Average the heads of one frame (N = 1) over its views: -> `HeadOutputs` of `size`, stride 1.

    Every view is resized to `size`, the variant's own input size, and mirrored back; then the
    softmax of the classes, the heatmap and the offsets are averaged. Offsets are rescaled with
    their view, and their dx is negated in a mirrored one. The averaged probabilities are returned
    as their logarithms, whose softmax they are.
    """
    total: list[Tensor] = []
    count = 0
    for heads, valid, mirrored in views:
        axes = sampling_axes(heads, size, valid, align_corners)
        semantic, center, offset = (sample(h.float(), axes) for h in heads[:3])
        stretch = offset.new_tensor([axis.scale for axis in axes])
        if mirrored:
            semantic, center, offset = (h.flip(-1) for h in (semantic, center, offset))
            stretch[1] = -stretch[1]
        terms = [semantic.softmax(1), center, offset * stretch.view(1, 2, 1, 1)]
        total = [a + b for a, b in zip(total, terms, strict=True)] if total else terms
        count += 1
    probability, center, offset = (term / count for term in total)
    floor = torch.finfo(torch.float32).tiny  # a class that no view gives any probability
    return HeadOutputs(probability.clamp(min=floor).log(), center, offset, stride=1)
