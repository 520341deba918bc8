"""PyTorch's private doors to oneDNN, all in one place: tested with torch 2.13.0 on x86-64.

`torch.ops.mkldnn._reorder_convolution_weight`, `_convolution_pointwise` (with its overload
`.binary`) and `_convolution_pointwise_.binary` are what torch's own compiler calls, and written
down nowhere. `cpu_layers.pack` tries them before it uses them; where one is missing, takes other
arguments or gives other numbers (builds without oneDNN, other processors), networks stay with
`conv2d`: the same labels, later.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# oneDNN's names and numbers for our activations.
_FUSED: dict[str, tuple[str, list[float]]] = {
    'none': ('none', []),
    'relu': ('relu', []),
    'relu6': ('hardtanh', [0.0, 6.0]),
    'hardswish': ('hardswish', []),
}


class Geometry(NamedTuple):
    """How a convolution goes over its input, in the order of oneDNN's arguments."""

    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def reorder(weight: Tensor, geometry: Geometry, shape: torch.Size) -> Tensor:
    """Return weights laid out for inputs of one shape; others are right as well, but slow."""
    return torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(shape))


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, activation: str
) -> Tensor:
    """Convolve and activate."""
    return torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, *geometry, *_FUSED[activation], None
    )


def convolve_and_add(
    x: Tensor,
    shortcut: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    activation: str,
    replaces: bool,
) -> Tensor:
    """Convolve, add a shortcut, which the sum replaces in memory or not, and activate."""
    function, numbers = _FUSED[activation]
    then = ('add', None, None if function == 'none' else function, numbers, None)
    if replaces:
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            shortcut, x, weight, bias, *geometry, *then
        )
    return torch.ops.mkldnn._convolution_pointwise.binary(
        x, shortcut, weight, bias, *geometry, *then
    )
