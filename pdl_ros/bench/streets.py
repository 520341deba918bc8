"""Head outputs of a street that never was: what a trained network says, at any size, by seed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs

STRIDE = 4
_SIGMA = 10.0  # of the centre Gaussians, in input pixels, as trained on Cityscapes


def street_heads(
    size: tuple[int, int], instances: int, label_set: LabelSet, seed: int = 0
) -> HeadOutputs:
    """Return heads of one (height, width) frame with ground, things as ellipses, and noise.

    Things are large in the lower half and small at the horizon, and cover each other; their
    offsets point to their centres, give or take a pixel or two.
    """
    generator = torch.Generator().manual_seed(seed)
    h, w = size[0] // STRIDE, size[1] // STRIDE
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing='ij')
    classes = _ground(h, w, label_set, generator)
    heatmap = torch.zeros(h, w)
    offset = torch.zeros(2, h, w)
    things = torch.tensor(label_set.thing_ids)
    # In a crowd things are small: they cover about a fifth of the image, whatever their number.
    crowded = (60 / max(instances, 1)) ** 0.5
    # From the horizon towards the camera: the near cover the far.
    depth = torch.rand(instances, generator=generator).sort().values
    for near in depth.tolist():
        random = torch.rand(5, generator=generator).tolist()
        center_y, center_x = h * (0.4 + 0.5 * near + 0.05 * random[0]), w * random[1]
        high = crowded * h * (0.015 + 0.11 * near**2) * (0.7 + 0.6 * random[2])
        wide = high * (0.4 + 1.2 * random[3])
        inside = ((y - center_y) / high) ** 2 + ((x - center_x) / wide) ** 2 < 1
        classes[inside] = things[int(random[4] * len(things))]
        offset[0] = torch.where(inside, STRIDE * (center_y - y), offset[0])
        offset[1] = torch.where(inside, STRIDE * (center_x - x), offset[1])
        squared = (y - center_y) ** 2 + (x - center_x) ** 2
        peak = (0.5 + 0.5 * random[0]) * torch.exp(-squared * STRIDE**2 / (2 * _SIGMA**2))
        heatmap = torch.maximum(heatmap, peak)
    logits = _logits(classes, label_set, generator)
    heatmap += 0.01 * torch.randn(h, w, generator=generator)
    offset += 1.5 * torch.randn(2, h, w, generator=generator)
    return HeadOutputs(logits[None], heatmap[None, None], offset[None], STRIDE)


def noise_heads(size: tuple[int, int], label_set: LabelSet, seed: int = 0) -> HeadOutputs:
    """Return heads of nothing but noise: an untrained network, the worst case for every step."""
    generator = torch.Generator().manual_seed(seed)
    h, w = size[0] // STRIDE, size[1] // STRIDE
    logits = 3 * torch.randn(1, label_set.num_classes, h, w, generator=generator)
    heatmap = torch.rand(1, 1, h, w, generator=generator)
    offset = 30 * torch.randn(1, 2, h, w, generator=generator)
    return HeadOutputs(logits, heatmap, offset, STRIDE)


def _ground(h: int, w: int, label_set: LabelSet, generator: torch.Generator) -> Tensor:
    """Return (h, w) stuff classes in large patches, each class at its own height in the image."""
    stuff = [c for c in range(label_set.num_classes) if c not in label_set.thing_ids]
    patches = _smooth((len(stuff), h, w), 6, generator)
    height = torch.linspace(1, 0, len(stuff)).view(-1, 1, 1)
    patches -= 3 * (torch.linspace(0, 1, h).view(1, -1, 1) - height).abs()
    return torch.tensor(stuff)[patches.argmax(0)]


def _logits(classes: Tensor, label_set: LabelSet, generator: torch.Generator) -> Tensor:
    """Return (C, h, w) logits: sure within segments, soft at their borders, never quite quiet."""
    one_hot = F.one_hot(classes, label_set.num_classes).permute(2, 0, 1).float()
    sure = F.avg_pool2d(one_hot, 3, 1, 1, count_include_pad=False)
    blurred = _smooth((label_set.num_classes, *classes.shape), 12, generator)
    noise = torch.randn(sure.shape, generator=generator)
    return 10 * sure + blurred + 0.1 * noise


def _smooth(shape: tuple[int, int, int], cells: int, generator: torch.Generator) -> Tensor:
    coarse = torch.randn(1, shape[0], cells, 2 * cells, generator=generator)
    return F.interpolate(coarse, shape[1:], mode='bicubic', align_corners=False)[0]
