"""What the network says about an image, and the small heads that say it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdl_ros.network.layers import fuse_block, two_convs
from pdl_ros.network.settings import DecoderSettings


class HeadOutputs(NamedTuple):
    """The raw predictions at `stride`; nothing else leaves the network.

    semantic: (N, C, h, w) logits. center_heatmap: (N, 1, h, w), linear, trained towards [0, 1].
    offset: (N, 2, h, w) as (dy, dx) from a pixel to the mass centre of its instance, in input
    pixels.
    """

    semantic: Tensor
    center_heatmap: Tensor
    offset: Tensor
    stride: int

    def to(self, device: torch.device | str) -> HeadOutputs:
        """Return them on a device."""
        semantic, center_heatmap, offset = (head.to(device) for head in self[:3])
        return HeadOutputs(semantic, center_heatmap, offset, self.stride)


class Head(nn.Module):
    """One convolution block and a 1×1 predictor: (N, C, h, w) -> (N, outputs, h, w)."""

    def __init__(self, block: nn.Module, channels: int, outputs: int, bias: float = 0.0) -> None:
        super().__init__()
        self.block = block
        self.predictor = nn.Conv2d(channels, outputs, 1)
        # Small initial predictions: a freshly started instance branch must not drown the semantic
        # loss. Without memory there is nothing to draw, and PyTorch would import its compiler.
        if not self.predictor.weight.is_meta:
            nn.init.normal_(self.predictor.weight, 0, 0.001)
        assert self.predictor.bias is not None
        nn.init.constant_(self.predictor.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.predictor(self.block(x))


def semantic_head(num_classes: int, settings: DecoderSettings) -> Head:
    """Class logits from the semantic decoder (paper, section 3.2)."""
    width = settings.semantic_channels
    return Head(fuse_block(width, width, settings.depthwise, settings.norm_eps), width, num_classes)


def instance_head(
    outputs: int, depthwise: bool, settings: DecoderSettings, bias: float = 0.0
) -> Head:
    """The centre heatmap (1 output) or the offset (2 outputs) from the instance decoder; `bias`:
    what it says at first.
    """
    shared = settings.shared == 'decoder'
    width = settings.semantic_channels if shared else settings.instance_channels
    narrow, eps = settings.head_channels, settings.norm_eps
    block = (
        fuse_block(width, narrow, True, eps)
        if depthwise
        else two_convs(width, narrow, eps, middle=width)
    )
    return Head(block, narrow, outputs, bias)
