"""What the CPU kernels see of PyTorch's tensors: plain arrays and strides, without copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from pdl_ros.fusion.sampling import Axis


class AxisView(NamedTuple):
    """`sampling.Axis` as arrays: lower, upper (size,) uint32; weight, rest = 1 - weight (size,)
    float32.
    """

    lower: np.ndarray
    upper: np.ndarray
    weight: np.ndarray
    rest: np.ndarray

    def padded(self, step: int) -> AxisView:
        """Return the axis with its last pixel repeated up to a whole number of steps."""
        more = -len(self.lower) % step
        return AxisView(*(np.pad(column, (0, more), 'edge') for column in self))


class HeadView(NamedTuple):
    """One head of one frame: the sample (c, y, x) is flat[c * channel + y * row + x * column].

    Contiguous and channels-last tensors look alike this way, without a copy and with one machine
    code for both. channels, height, width: the size of the head.
    """

    flat: np.ndarray
    channel: int
    row: int
    column: int
    channels: int
    height: int
    width: int


def axis_view(axis: Axis) -> AxisView:
    """View one output axis."""
    weight = axis.weight.numpy()
    lower, upper = (index.numpy().astype(np.uint32) for index in (axis.lower, axis.upper))
    return AxisView(lower, upper, weight, 1 - weight)


def head_view(head: Tensor) -> HeadView:
    """View one head of one frame, (C, h, w); only other types than float32 and tensors with gaps
    are copied.
    """
    head = head.detach().float()
    channels, height, width = head.shape
    dense = head.is_contiguous() or head.permute(1, 2, 0).is_contiguous()
    head = head if dense else head.contiguous()
    flat = head.as_strided((head.numel(),), (1,), head.storage_offset()).numpy()
    channel, row, column = head.stride()
    return HeadView(flat, channel, row, column, channels, height, width)
