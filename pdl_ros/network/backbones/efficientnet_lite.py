"""EfficientNet-Lite (Tan et al., 2019; the variant without squeeze-excite, with ReLU6).

Parameter names are those of the usual PyTorch release of the ImageNet weights.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.network.backbones.atrous import atrous_plan
from pdl_ros.network.backbones.mobilenet import multiple_of_eight
from pdl_ros.network.layers import SamePadConv2d

# (expansion, kernel, stride, width, depth) of the seven stages of Lite0.
_LITE0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STAGE_AFTER = {1: 'res2', 2: 'res3', 4: 'res4', 6: 'res5'}


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, project 1×1; a shortcut where the shape allows it."""

    def __init__(
        self, c_in: int, c_out: int, expansion: int, kernel: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        middle = c_in * expansion
        self.expands = expansion != 1
        self.adds = stride == 1 and c_in == c_out
        if self.expands:
            self._expand_conv = SamePadConv2d(c_in, middle, 1, bias=False)
            self._bn0 = _norm(middle)
        self._depthwise_conv = SamePadConv2d(
            middle, middle, kernel, stride, dilation=dilation, groups=middle, bias=False
        )
        self._bn1 = _norm(middle)
        self._project_conv = SamePadConv2d(middle, c_out, 1, bias=False)
        self._bn2 = _norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """(N, 3, H, W), RGB as (x - 127) / 128 -> {'res2'..'res5'}; Lite0 has 24, 40, 112 and 320
    channels.

    `wider` and `deeper` scale all widths and depths of Lite0 but those that the Lite family keeps:
    the stem's width, and the depth of the first and the last stage.
    """

    def __init__(
        self, wider: float, deeper: float, output_stride: int, multi_grid: tuple[int, ...]
    ) -> None:
        super().__init__()
        self._conv_stem = SamePadConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        self._blocks = nn.ModuleList()
        self.channels: dict[str, int] = {}
        self._taps: dict[int, str] = {}
        c_in = 32
        plan = atrous_plan(tuple(s[2] for s in _LITE0), output_stride, first_stride=2)
        for index, ((expansion, kernel, _, width, depth), rates) in enumerate(
            zip(_LITE0, plan, strict=True)
        ):
            stride, first_dilation, dilation = rates
            width = multiple_of_eight(width * wider)
            depth = depth if index in (0, 6) else math.ceil(depth * deeper)
            grid = multi_grid if index == 5 and multi_grid else (1,)
            for i in range(depth):
                rate = (first_dilation if i == 0 else dilation) * grid[i % len(grid)]
                self._blocks.append(
                    InvertedResidual(c_in, width, expansion, kernel, stride if i == 0 else 1, rate)
                )
                c_in = width
            if index in _STAGE_AFTER:
                self._taps[len(self._blocks) - 1] = _STAGE_AFTER[index]
                self.channels[_STAGE_AFTER[index]] = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.relu6(self._bn0(self._conv_stem(images)), inplace=True)
        features: dict[str, Tensor] = {}
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self._taps:
                features[self._taps[i]] = x
        return features


def efficientnet_lite0(output_stride: int, multi_grid: tuple[int, ...]) -> EfficientNetLite:
    """EfficientNet-Lite0: 3.0 million parameters, no squeeze-excite, quantises and compiles
    well.
    """
    return EfficientNetLite(1.0, 1.0, output_stride, multi_grid)


def efficientnet_lite1(output_stride: int, multi_grid: tuple[int, ...]) -> EfficientNetLite:
    """EfficientNet-Lite1: Lite0 with a tenth more depth, which is one block more a stage."""
    return EfficientNetLite(1.0, 1.1, output_stride, multi_grid)


def efficientnet_lite2(output_stride: int, multi_grid: tuple[int, ...]) -> EfficientNetLite:
    """EfficientNet-Lite2: as deep as Lite1 and a tenth wider."""
    return EfficientNetLite(1.1, 1.2, output_stride, multi_grid)


def _norm(channels: int) -> nn.BatchNorm2d:
    # TensorFlow's epsilon and momentum; the released statistics were gathered with them.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
