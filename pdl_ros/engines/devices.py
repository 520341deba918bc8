"""Which device a network runs on."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from pdl_ros.errors import PdlError, require

if TYPE_CHECKING:
    import torch


def check_device_name(name: str) -> str:
    """Return the name; raise PdlError where no machine can have such a device. Needs no PyTorch."""
    require(
        re.fullmatch(r'auto|cpu|cuda(:\d{1,3})?', name) is not None,
        f'No device {name!r}; use auto, cpu, cuda or cuda:N.',
    )
    return name


def pick_device(name: str) -> torch.device:
    """Return the device called `name`: auto (CUDA where there is one), cpu, cuda or cuda:N."""
    check_device_name(name)
    import torch

    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    device = torch.device(name)
    if device.type == 'cpu':
        return device
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise PdlError(
            f'Device {name!r} is not here: PyTorch sees {torch.cuda.device_count()} CUDA devices; '
            'use device cpu or auto, or install the CUDA build of PyTorch and its driver.'
        )
    return torch.device('cuda', index)


def on_device(device: torch.device) -> AbstractContextManager[None]:
    """Make a device the current one of this thread: streams, events, pinned memory and kernels
    that name none are its own then. Does nothing for a CPU.
    """
    import torch

    return torch.cuda.device(device if device.type == 'cuda' else -1)
