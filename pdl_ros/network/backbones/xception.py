"""Aligned Xception as DeepLab modified it: separable convolutions only, no pooling.

Parameter names are those of the Xception-65 that the Panoptic-DeepLab authors trained; Xception-71
continues them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.network.backbones.atrous import atrous_plan


class _Block(NamedTuple):
    """One row of a table: output widths of the three convolutions, stride of the third, whether the
    shortcut is a 1×1 convolution, and which feature the decoder takes just before the stride.
    """

    widths: tuple[int, int, int]
    stride: int = 1
    projects: bool = True
    feature: str | None = None


_ENTRY_65 = (
    _Block((128, 128, 128), 2),
    _Block((256, 256, 256), 2, feature='res2'),
    _Block((728, 728, 728), 2, feature='res3'),
)
_ENTRY_71 = (
    _Block((128, 128, 128), 2),
    _Block((256, 256, 256)),
    _Block((256, 256, 256), 2, feature='res2'),
    _Block((728, 728, 728)),
    _Block((728, 728, 728), 2, feature='res3'),
)
_MIDDLE = (_Block((728, 728, 728), projects=False),) * 16
_EXIT = _Block((728, 1024, 1024), 2)
_LAST_WIDTHS = (1536, 1536, 2048)


class SeparableConv(nn.Module):
    """Depthwise 3×3 (stride and dilation here), then pointwise, each with a norm.

    The ReLU comes once, before both, or with `relu_last` after each norm.
    """

    def __init__(
        self, c_in: int, c_out: int, stride: int, dilation: int, relu_last: bool = False
    ) -> None:
        super().__init__()
        depthwise: dict[str, nn.Module] = {
            'depthwise': nn.Conv2d(
                c_in, c_in, 3, stride, dilation, dilation, groups=c_in, bias=False
            ),
            'bn_depth': nn.BatchNorm2d(c_in),
        }
        pointwise: dict[str, nn.Module] = {
            'pointwise': nn.Conv2d(c_in, c_out, 1, bias=False),
            'bn_point': nn.BatchNorm2d(c_out),
        }
        if relu_last:
            layers = depthwise | {'relu1': nn.ReLU()} | pointwise | {'relu2': nn.ReLU()}
        else:
            # Never in place: a shortcut and the decoder read the input as it is.
            layers = {'relu': nn.ReLU()} | depthwise | pointwise
        self.block = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class XceptionBlock(nn.Module):
    """Three separable convolutions, the third one strided, beside a shortcut: 1×1 or identity.

    (N, C, H, W) -> the block's output (N, C', H/stride, W/stride), and what the third convolution
    saw: the last feature before the stride, (N, C'', H, W).
    """

    def __init__(
        self, c_in: int, widths: tuple[int, int, int], stride: int, dilation: int, projects: bool
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.projects = projects
        if projects:
            self.conv = nn.Conv2d(c_in, third, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(third)
        self.sep_conv1 = SeparableConv(c_in, first, 1, dilation)
        self.sep_conv2 = SeparableConv(first, second, 1, dilation)
        self.sep_conv3 = SeparableConv(second, third, stride, dilation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before_stride = self.sep_conv2(self.sep_conv1(x))
        shortcut = self.bn(self.conv(x)) if self.projects else x
        return self.sep_conv3(before_stride) + shortcut, before_stride


class Xception(nn.Module):
    """(N, 3, H, W), RGB as (x - 127.5) / 127.5 -> {'res2' 256, 'res3' 728, 'res4' 728, 'res5' 2048
    channels}.

    `multi_grid` multiplies the dilations of the three convolutions of the last block.
    """

    def __init__(
        self, entry: tuple[_Block, ...], output_stride: int, multi_grid: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        rows = (*entry, *_MIDDLE, _EXIT)
        # A block's stride sits in its last convolution, so a block that lost its stride still has
        # the dilation from before it throughout.
        *plans, (_, last_dilation, _) = atrous_plan(
            (*(row.stride for row in rows), 1), output_stride, first_stride=2
        )
        c_in = 64
        for i, (row, (stride, dilation, _)) in enumerate(zip(rows, plans, strict=True)):
            block = XceptionBlock(c_in, row.widths, stride, dilation, row.projects)
            self.add_module(f'block{i + 1}', block)
            c_in = row.widths[-1]
        # Only the very last block has no shortcut.
        last: OrderedDict[str, nn.Module] = OrderedDict()
        for i, width in enumerate(_LAST_WIDTHS):
            rate = last_dilation * (multi_grid[i % len(multi_grid)] if multi_grid else 1)
            last[f'sep_conv{i + 1}'] = SeparableConv(c_in, width, 1, rate, relu_last=True)
            c_in = width
        self.add_module(f'block{len(rows) + 1}', nn.Sequential(last))
        self._entry_and_middle = {f'block{i + 1}': row.feature for i, row in enumerate(rows[:-1])}
        self._exit = (f'block{len(rows)}', f'block{len(rows) + 1}')
        self.channels = {'res2': 256, 'res3': 728, 'res4': 728, 'res5': 2048}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        features: dict[str, Tensor] = {}
        for name, feature in self._entry_and_middle.items():
            x, before_stride = getattr(self, name)(x)
            if feature is not None:
                features[feature] = before_stride
        features['res4'] = x
        strided, last = (getattr(self, name) for name in self._exit)
        features['res5'] = last(strided(x)[0])
        return features


def xception65(output_stride: int, multi_grid: tuple[int, ...]) -> Xception:
    """Xception-65: 21 blocks, three of them before the middle flow."""
    return Xception(_ENTRY_65, output_stride, multi_grid)


def xception71(output_stride: int, multi_grid: tuple[int, ...]) -> Xception:
    """Xception-71, the paper's largest encoder: two more blocks before the middle flow."""
    return Xception(_ENTRY_71, output_stride, multi_grid)
