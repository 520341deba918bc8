"""Encoders: image tensor -> features at strides 4, 8, 16 and the last stage. One file a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from pdl_ros.errors import PdlError
from pdl_ros.network.backbones.efficientnet_lite import efficientnet_lite0
from pdl_ros.network.backbones.resnet import resnet50, resnet52


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
    'resnet50': resnet50,
    'resnet52': resnet52,
}


def make_backbone(name: str, output_stride: int, multi_grid: tuple[int, ...]) -> nn.Module:
    """Build a backbone by name with the last stages atrous, so that `output_stride` (8, 16, 32) is
    kept.
    """
    if name not in BACKBONES:
        raise PdlError(f'No backbone {name!r}; there are: {", ".join(BACKBONES)}.')
    if output_stride not in (8, 16, 32):
        raise PdlError(f'output_stride is {output_stride}; it can be 8, 16 or 32.')
    return BACKBONES[name](output_stride, multi_grid)
