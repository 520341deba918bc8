"""Run the network with PyTorch itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdl_ros.network.heads import HeadOutputs


class TorchEngine:
    """An `Engine` (which see): PyTorch, eager."""

    name = 'torch'

    def __init__(self, network: nn.Module, device: torch.device, precision: str = 'fp32') -> None:
        self.device, self.precision = device, precision
        # Channels-last is the layout that CPU and GPU convolutions are written for.
        self.network = network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> HeadOutputs:
        heads = self.network(images.contiguous(memory_format=torch.channels_last))
        assert isinstance(heads, HeadOutputs)
        return heads

    def release(self) -> None:
        """Drop the weights."""
        del self.network
