"""Convolutions as the processor does them fastest: through oneDNN, in one call a step.

torch's own `conv2d` leaves oneDNN for slower code (1×1 convolutions on one thread), cannot add and
activate on the way, and lays the weights out anew at every call.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from pdl_ros.engines import mkldnn_compat
from pdl_ros.engines.folding import Step
from pdl_ros.engines.mkldnn_compat import Geometry
from pdl_ros.network.layers import SamePadConv2d, same_pad
from pdl_ros.runtime.cpu_features import instruction_set

# The padding, in pixels, up to which oneDNN has fast depthwise code: beyond it a convolution takes
# 20 to 60 times as long (tried with SSE4, AVX2 and AVX-512). Other sets are taken for AVX2.
_FAST_PADDING = {'sse4': 3, 'avx': 3, 'avx512': 6, 'avx512_vnni': 6, 'avx512_bf16': 6, 'amx': 6}
_FAST_PADDING_OF_OTHERS = 4


def pack(folded: fx.GraphModule) -> fx.GraphModule:
    """Replace the steps of a folded network by oneDNN's, where it has them."""
    for name, step in list(folded.named_children()):
        if isinstance(step, Step) and _can_pack(step.conv.weight.dtype):
            packed = PackedStep(step)
            setattr(folded, name, _Interleaved(packed) if packed.is_wide_depthwise() else packed)
    return folded


class PackedStep(nn.Module):
    """A `Step` as one call of oneDNN, with its weights laid out for the images' size."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, step: Step) -> None:
        super().__init__()
        conv = step.conv
        self.same = isinstance(conv, SamePadConv2d)
        self.channels = conv.in_channels
        self.kernel, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding: tuple[int, ...] = conv.padding  # type: ignore[assignment]
        self.groups, self.replaces = conv.groups, step.replaces
        self.activation = step.activation
        self.register_buffer('weight', conv.weight.detach())
        self.register_buffer('bias', None if conv.bias is None else conv.bias.detach())
        self._packed, self._shape = self.weight, torch.Size()

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        x = x.to(self.weight.dtype)
        if self.same:
            x = self._pad(x)
        geometry = Geometry(self.padding, self.stride, self.dilation, self.groups)
        if x.shape != self._shape:
            # A layout for another size is right as well, but converted at every call, slowly.
            self._packed = mkldnn_compat.reorder(self.weight, geometry, x.shape)
            self._shape = x.shape
        packed = (self._packed, self.bias, geometry, self.activation)
        if shortcut is None:
            return mkldnn_compat.convolve(x, *packed)
        shortcut = shortcut.to(self.weight.dtype)
        return mkldnn_compat.convolve_and_add(x, shortcut, *packed, self.replaces)

    def is_wide_depthwise(self) -> bool:
        """Tell whether it is of the kind that oneDNN has only slow code for."""
        padding = (d * (k - 1) // 2 for d, k in zip(self.dilation, self.kernel, strict=True))
        fast = _FAST_PADDING.get(instruction_set('onednn'), _FAST_PADDING_OF_OTHERS)
        return (
            self.groups == self.channels == len(self.weight)
            and self.stride == (1, 1)
            and max(self.dilation) > 1
            and max(padding) > fast
        )

    def _pad(self, x: Tensor) -> Tensor:
        """Pad by TensorFlow's rule: here where it is lopsided, otherwise on the way."""
        down, right = (
            same_pad(x.shape[axis + 2], self.kernel[axis], self.stride[axis], self.dilation[axis])
            for axis in (0, 1)
        )
        if down % 2 == right % 2 == 0:
            self.padding = (down // 2, right // 2)
            return x
        self.padding = (0, 0)
        return F.pad(x, [right // 2, right - right // 2, down // 2, down - down // 2])


class _Interleaved(nn.Module):
    """A depthwise convolution of rate d as a dense one on each of d² interleaved images.

    Every d-th pixel of every d-th row is an image of its own for it.
    """

    def __init__(self, step: PackedStep) -> None:
        super().__init__()
        self.rate, self.step = step.dilation, step
        step.dilation = (1, 1)
        step.padding = tuple(p // d for p, d in zip(step.padding, self.rate, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        (n, c, h, w), (d, e) = x.shape, self.rate
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, -w % e, 0, -h % d))
        high, wide = x.shape[1] // d, x.shape[2] // e
        x = x.view(n, high, d, wide, e, c).permute(0, 2, 4, 1, 3, 5)
        y = self.step(x.reshape(-1, high, wide, c).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = y.view(n, d, e, high, wide, c).permute(0, 3, 1, 4, 2, 5)
        return y.reshape(n, high * d, wide * e, c)[:, :h, :w].permute(0, 3, 1, 2)


@lru_cache
def _can_pack(dtype: torch.dtype) -> bool:
    """Try: which builds and processors have these operations is nowhere written."""
    conv = nn.Conv2d(8, 8, 3, padding=1).to(dtype).requires_grad_(False)
    x = torch.ones(1, 8, 4, 4, dtype=dtype).contiguous(memory_format=torch.channels_last)
    try:
        with torch.inference_mode():
            for step, *others in ((Step(conv),), (Step(conv), x)):
                step.activation = 'relu'
                got, want = PackedStep(step)(x, *others), step(x, *others)
                if not torch.allclose(got.float(), want.float(), rtol=0.02, atol=0.02):
                    return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True
