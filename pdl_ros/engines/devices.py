"""Which device a network runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from pdl_ros.errors import PdlError


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
    return torch.device('cuda', device.index or 0) if device.type == 'cuda' else device


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Make a device the current one of this thread: streams, events, pinned memory and kernels
    that name none are its own then. Does nothing for a CPU.
    """
    return torch.cuda.device(device if device.type == 'cuda' else -1)
