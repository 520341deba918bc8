"""What stays in fp32 where the rest of a network trains in bf16."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def keep_depthwise_wide(network: nn.Module) -> None:
    """Let depthwise convolutions compute in fp32 under autocast on a CPU.

    oneDNN has fast bf16 gradients for all other convolutions; those of depthwise ones take more
    than twice as long as in fp32, which is more than all that the rest gains.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = _Wide(module)  # type: ignore[assignment, method-assign]


class _Wide:
    """The forward pass of a convolution, in fp32."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        self._forward = type(convolution).forward.__get__(convolution)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.autocast('cpu', enabled=False):
            result: Tensor = self._forward(x.float())
        return result
