"""The few convolution blocks that the whole network is built from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNormAct(nn.Module):
    """Convolve (no bias), batch-normalise, ReLU. Shape (N, C, H, W) -> (N, C', H/stride,
    W/stride).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, groups, bias=False)
        self.norm = nn.BatchNorm2d(c_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class DepthwiseSeparable(nn.Module):
    """A depthwise k×k convolution and a pointwise one, each with norm and ReLU (paper, section
    3.2).
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, dilation: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(c_in, c_in, kernel, dilation=dilation, groups=c_in, eps=eps)
        self.pointwise = ConvNormAct(c_in, c_out, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def fuse_block(c_in: int, c_out: int, depthwise: bool, eps: float) -> nn.Module:
    """Return one decoder or head step: a 5×5 depthwise-separable convolution, or two regular 3×3
    ones.
    """
    if depthwise:
        return DepthwiseSeparable(c_in, c_out, 5, eps=eps)
    return two_convs(c_in, c_out, eps)


def two_convs(c_in: int, c_out: int, eps: float, middle: int | None = None) -> nn.Sequential:
    """Return two regular 3×3 convolutions; `middle` is the width between them (default: c_out)."""
    middle = middle or c_out
    return nn.Sequential(
        ConvNormAct(c_in, middle, 3, eps=eps), ConvNormAct(middle, c_out, 3, eps=eps)
    )


class SamePadConv2d(nn.Conv2d):
    """A convolution padded by TensorFlow's SAME rule: the odd pixel goes to the bottom and right.

    Weights converted from TensorFlow (EfficientNet-Lite) expect it at stride 2; symmetric padding
    shifts their features by half a pixel.
    """

    def forward(self, x: Tensor) -> Tensor:
        tall, wide = (
            same_pad(
                x.shape[axis + 2], self.kernel_size[axis], self.stride[axis], self.dilation[axis]
            )
            for axis in (0, 1)
        )
        padding = [tall // 2, wide // 2]
        if tall % 2 or wide % 2:
            x = F.pad(x, [wide // 2, wide - wide // 2, tall // 2, tall - tall // 2])
            padding = [0, 0]
        # Padded by the convolution itself where both sides are alike: at stride 1 always. Its
        # gradient takes a third of the time then.
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def same_pad(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Return the pixels, both sides together, that TensorFlow's SAME rule pads an axis by."""
    return max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def resize(x: Tensor, size: tuple[int, int] | torch.Size, align_corners: bool) -> Tensor:
    """Resize (N, C, h, w) bilinearly to (N, C, *size)."""
    return F.interpolate(x, size=size, mode='bilinear', align_corners=align_corners)
