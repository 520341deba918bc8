"""ResNet (He et al., 2016) and ResNeXt (Xie et al., 2017) with atrous last stages; parameter names
are torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.network.backbones.atrous import atrous_plan


class Bottleneck(nn.Module):
    """1×1, 3×3 (stride, dilation and groups here), 1×1 with a shortcut."""

    def __init__(
        self, c_in: int, width: int, c_out: int, stride: int, dilation: int, groups: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


class ResNet(nn.Module):
    """(N, 3, H, W) -> {'res2'..'res5'}.

    `deeplab_stem` replaces the 7×7 first convolution by three 3×3 ones, as in the DeepLab releases
    ("R-52"). `multi_grid` multiplies the dilation of the blocks of the last stage. The 3×3
    convolutions of the first stage have `groups` groups of `width_per_group` channels, doubled in
    every further stage.
    """

    def __init__(
        self,
        depths: tuple[int, int, int, int],
        output_stride: int,
        multi_grid: tuple[int, ...],
        *,
        deeplab_stem: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
    ) -> None:
        super().__init__()
        self.deeplab_stem = deeplab_stem
        if deeplab_stem:
            self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.conv2 = nn.Conv2d(64, 64, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(64)
            self.conv3 = nn.Conv2d(64, 128, 3, 1, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(128)
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
        c_in = 128 if deeplab_stem else 64
        plan = atrous_plan((1, 2, 2, 2), output_stride, first_stride=4)
        for index, (depth, (stride, first_dilation, dilation)) in enumerate(
            zip(depths, plan, strict=True)
        ):
            width, c_out = groups * width_per_group * 2**index, 256 * 2**index
            # Published code bases disagree on the first dilation of a stage that lost its stride.
            # torchvision's (and the authors') keeps the previous one; with multi-grid every block
            # has the stage's own.
            grid = multi_grid if index == 3 and multi_grid else None
            rates = (
                [dilation * grid[i % len(grid)] for i in range(depth)]
                if grid
                else [first_dilation] + [dilation] * (depth - 1)
            )
            blocks = []
            for i, rate in enumerate(rates):
                blocks.append(Bottleneck(c_in, width, c_out, stride if i == 0 else 1, rate, groups))
                c_in = c_out
            setattr(self, f'layer{index + 1}', nn.Sequential(*blocks))
        self.channels = {f'res{i + 2}': 256 * 2**i for i in range(4)}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = F.relu(self.bn1(self.conv1(images)))
        if self.deeplab_stem:
            x = F.relu(self.bn2(self.conv2(x)))
            x = F.relu(self.bn3(self.conv3(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        features = {}
        for i in range(4):
            x = getattr(self, f'layer{i + 1}')(x)
            features[f'res{i + 2}'] = x
        return features


def resnet50(output_stride: int, multi_grid: tuple[int, ...]) -> ResNet:
    """ResNet-50 with the original 7×7 stem."""
    return ResNet((3, 4, 6, 3), output_stride, multi_grid)


def resnet52(output_stride: int, multi_grid: tuple[int, ...]) -> ResNet:
    """ResNet-50 with the three-convolution DeepLab stem, known as R-52."""
    return ResNet((3, 4, 6, 3), output_stride, multi_grid, deeplab_stem=True)


def resnet101(output_stride: int, multi_grid: tuple[int, ...]) -> ResNet:
    """ResNet-101 with the original 7×7 stem."""
    return ResNet((3, 4, 23, 3), output_stride, multi_grid)


def resnext101_32x8d(output_stride: int, multi_grid: tuple[int, ...]) -> ResNet:
    """ResNeXt-101 of 32 groups of 8 channels: the depth of ResNet-101, twice its parameters."""
    return ResNet((3, 4, 23, 3), output_stride, multi_grid, groups=32, width_per_group=8)
