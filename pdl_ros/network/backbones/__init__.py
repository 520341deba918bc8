"""Encoders: image tensor -> features at strides 4, 8, 16 and the last stage. One file a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from pdl_ros.errors import PdlError
from pdl_ros.network.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from pdl_ros.network.backbones.hrnet import hrnet_w48
from pdl_ros.network.backbones.mobilenet import (
    mobilenet_v2,
    mobilenet_v3_large,
    mobilenet_v3_large_seg,
    mobilenet_v3_small,
)
from pdl_ros.network.backbones.resnet import resnet50, resnet52, resnet101, resnext101_32x8d
from pdl_ros.network.backbones.xception import xception65, xception71


class Backbone(Protocol):
    """What a decoder asks of an encoder: its feature widths by stage name, and the features
    themselves.
    """

    channels: dict[str, int]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) normalised images -> {'res2': stride 4, 'res3': 8, 'res4': 16, 'res5':
        last}.
        """
        ...


BACKBONES: dict[str, Callable[[int, tuple[int, ...]], nn.Module]] = {
    'efficientnet_lite0': efficientnet_lite0,
    'efficientnet_lite1': efficientnet_lite1,
    'efficientnet_lite2': efficientnet_lite2,
    'mobilenet_v2': mobilenet_v2,
    'mobilenet_v3_small': mobilenet_v3_small,
    'mobilenet_v3_large': mobilenet_v3_large,
    'mobilenet_v3_large_seg': mobilenet_v3_large_seg,
    'resnet50': resnet50,
    'resnet52': resnet52,
    'resnet101': resnet101,
    'resnext101_32x8d': resnext101_32x8d,
    'xception65': xception65,
    'xception71': xception71,
    'hrnet_w48': hrnet_w48,
}


def make_backbone(
    name: str, output_stride: int, multi_grid: tuple[int, ...], norm_eps: float | None = None
) -> nn.Module:
    """Build a backbone by name with the last stages atrous, so that `output_stride` (8, 16, 32) is
    kept.

    `norm_eps` replaces the epsilon of its BatchNorms; None: that of its usual release.
    """
    if name not in BACKBONES:
        raise PdlError(f'No backbone {name!r}; there are: {", ".join(BACKBONES)}.')
    if output_stride not in (8, 16, 32):
        raise PdlError(f'output_stride is {output_stride}; it can be 8, 16 or 32.')
    backbone = BACKBONES[name](output_stride, multi_grid)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d) and norm_eps is not None:
            module.eps = norm_eps
    return backbone
