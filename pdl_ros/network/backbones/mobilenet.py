"""MobileNetV2 (Sandler et al., 2018) and MobileNetV3 (Howard et al., 2019); parameter names are
torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.network.backbones.atrous import atrous_plan


class Stage(NamedTuple):
    """Blocks of one width: the depthwise kernel, the expanded width of each block, the output
    width of all, the stride of the first.
    """

    kernel: int
    expanded: tuple[int, ...]
    width: int
    stride: int
    activation: type[nn.Module] = nn.ReLU6
    squeezes: bool = False


@dataclass(frozen=True)
class Design:
    """One network of the family.

    stem, last: widths of the first convolution and of a last 1×1 one (0: none); `activation` is
    theirs.
    """

    version: int
    stem: int
    activation: type[nn.Module]
    stages: tuple[Stage, ...]
    last: int = 0

    def conv(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        activation: type[nn.Module] = nn.Identity,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> nn.Sequential:
        """Return a convolution, a norm and an activation."""
        padding = dilation * (kernel - 1) // 2
        # The released statistics of V3 were gathered with TensorFlow's epsilon and momentum.
        eps, momentum = (1e-5, 0.1) if self.version == 2 else (1e-3, 0.01)
        return nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(c_out, eps, momentum),
            activation(inplace=True),
        )


# Without the last convolution (1280 channels), as in the authors' release.
_V2 = Design(
    2,
    32,
    nn.ReLU6,
    (
        Stage(3, (32,), 16, 1),
        Stage(3, (96, 144), 24, 2),
        Stage(3, (144, 192, 192), 32, 2),
        Stage(3, (192, 384, 384, 384), 64, 2),
        Stage(3, (384, 576, 576), 96, 1),
        Stage(3, (576, 960, 960), 160, 2),
        Stage(3, (960,), 320, 1),
    ),
)
_V3_SMALL = Design(
    3,
    16,
    nn.Hardswish,
    (
        Stage(3, (16,), 16, 2, nn.ReLU, squeezes=True),
        Stage(3, (72, 88), 24, 2, nn.ReLU),
        Stage(5, (96, 240, 240), 40, 2, nn.Hardswish, squeezes=True),
        Stage(5, (120, 144), 48, 1, nn.Hardswish, squeezes=True),
        Stage(5, (288, 576, 576), 96, 2, nn.Hardswish, squeezes=True),
    ),
    last=576,
)
_V3_LARGE = Design(
    3,
    16,
    nn.Hardswish,
    (
        Stage(3, (16,), 16, 1, nn.ReLU),
        Stage(3, (64, 72), 24, 2, nn.ReLU),
        Stage(5, (72, 120, 120), 40, 2, nn.ReLU, squeezes=True),
        Stage(3, (240, 200, 184, 184), 80, 2, nn.Hardswish),
        Stage(3, (480, 672), 112, 1, nn.Hardswish, squeezes=True),
        Stage(5, (672, 960, 960), 160, 2, nn.Hardswish, squeezes=True),
    ),
    last=960,
)
# The authors' earlier code halves what comes after stride 16; the paper's multiply-adds are its.
_V3_LARGE_SEG = replace(
    _V3_LARGE,
    stages=(
        *_V3_LARGE.stages[:-1],
        Stage(5, (336, 480, 480), 80, 2, nn.Hardswish, squeezes=True),
    ),
    last=480,
)


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole image shows: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = multiple_of_eight(channels / 4)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = F.relu(self.fc1(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.fc2(seen))


class InvertedResidual(nn.Module):
    """Expand 1×1, depthwise k×k, maybe squeeze-excite, project 1×1; a shortcut where the shape
    allows it.

    (N, C, H, W) -> (wide features behind the depthwise convolution, the block's output).
    """

    def __init__(
        self, c_in: int, expanded: int, stage: Stage, stride: int, dilation: int, design: Design
    ) -> None:
        super().__init__()
        kernel, act = stage.kernel, stage.activation
        layers: list[nn.Module] = []
        if expanded != c_in:
            layers.append(design.conv(c_in, expanded, 1, act))
        layers.append(design.conv(expanded, expanded, kernel, act, stride, dilation, expanded))
        self.widening = len(layers)
        if stage.squeezes:
            layers.append(SqueezeExcite(expanded))
        project = design.conv(expanded, stage.width, 1)
        self.adds = stride == 1 and c_in == stage.width
        # torchvision's names: V2 lays the projection flat in `conv`, V3 nests it in `block`.
        self.body = 'conv' if design.version == 2 else 'block'
        tail = project if design.version == 2 else [project]
        self.add_module(self.body, nn.Sequential(*layers, *tail))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = wide = x
        for i, layer in enumerate(getattr(self, self.body), start=1):
            y = layer(y)
            if i == self.widening:
                wide = y
        return wide, x + y if self.adds else y


class MobileNet(nn.Module):
    """(N, 3, H, W) -> {'res2'..'res5'}: the last features of stride 4, 8 and 16, and the last of
    all.

    V2 gives its blocks' narrow outputs, as in the authors' PyTorch release. V3 gives their wide
    features and those of its last 1×1 convolution, as in their TensorFlow release.
    """

    def __init__(self, design: Design, output_stride: int, multi_grid: tuple[int, ...]) -> None:
        super().__init__()
        self.wide = design.version == 3
        self.channels: dict[str, int] = {}
        taps: dict[str, int] = {}
        layers: list[nn.Module] = [design.conv(3, design.stem, 3, design.activation, stride=2)]
        c_in, level = design.stem, 1
        plan = atrous_plan(tuple(s.stride for s in design.stages), output_stride, first_stride=2)
        for stage, (stride, first_dilation, dilation) in zip(design.stages, plan, strict=True):
            level += stage.stride == 2
            grid = multi_grid if level == 5 and multi_grid else (1,)
            for i, expanded in enumerate(stage.expanded):
                rate = (first_dilation if i == 0 else dilation) * grid[i % len(grid)]
                layers.append(
                    InvertedResidual(c_in, expanded, stage, stride if i == 0 else 1, rate, design)
                )
                c_in = stage.width
            if level > 1:
                taps[f'res{level}'] = len(layers) - 1
                self.channels[f'res{level}'] = stage.expanded[-1] if self.wide else stage.width
        if design.last:
            layers.append(design.conv(c_in, design.last, 1, design.activation))
            taps['res5'], self.channels['res5'] = len(layers) - 1, design.last
        self.features = nn.Sequential(*layers)
        self._taps = {index: name for name, index in taps.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = images
        features: dict[str, Tensor] = {}
        for i, layer in enumerate(self.features):
            if isinstance(layer, InvertedResidual):
                wide, x = layer(x)
            else:
                wide = x = layer(x)
            if i in self._taps:
                features[self._taps[i]] = wide if self.wide else x
        return features


def mobilenet_v2(output_stride: int, multi_grid: tuple[int, ...]) -> MobileNet:
    """MobileNetV2 of width 1.0: 1.8 million parameters."""
    return MobileNet(_V2, output_stride, multi_grid)


def mobilenet_v3_small(output_stride: int, multi_grid: tuple[int, ...]) -> MobileNet:
    """MobileNetV3-Small: 0.9 million parameters."""
    return MobileNet(_V3_SMALL, output_stride, multi_grid)


def mobilenet_v3_large(output_stride: int, multi_grid: tuple[int, ...]) -> MobileNet:
    """MobileNetV3-Large: 3.0 million parameters."""
    return MobileNet(_V3_LARGE, output_stride, multi_grid)


def mobilenet_v3_large_seg(output_stride: int, multi_grid: tuple[int, ...]) -> MobileNet:
    """MobileNetV3-Large with half the width behind stride 16, as the paper has it: 1.4 million
    parameters, and no ImageNet release.
    """
    return MobileNet(_V3_LARGE_SEG, output_stride, multi_grid)


def multiple_of_eight(channels: float) -> int:
    """Round a width to the nearest multiple of 8, but never to less than nine tenths of it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8
