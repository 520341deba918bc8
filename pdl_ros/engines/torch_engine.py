"""Run the network with PyTorch itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdl_ros.errors import PdlError
from pdl_ros.network.heads import HeadOutputs


class TorchEngine:
    """Normalised images (N, 3, H, W) float32 on `device` -> `HeadOutputs` on the same device."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.device = device
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


def pick_device(name: str) -> torch.device:
    """Return the device called `name`: auto (CUDA where there is one), cpu, cuda or cuda:N."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError:
        raise PdlError(f'No device {name!r}; use auto, cpu, cuda or cuda:N.') from None
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise PdlError(
            f'Device {name!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA devices; '
            'use device cpu or auto, or install the CUDA build of PyTorch and its driver.'
        )
    if device.type not in ('cpu', 'cuda'):
        raise PdlError(f'Device {name!r} is not supported; use auto, cpu, cuda or cuda:N.')
    return device
