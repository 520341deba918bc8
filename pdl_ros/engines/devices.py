"""Which device a network runs on."""

from __future__ import annotations

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
    return device
