"""From a network and what the user asked for to an engine."""

from __future__ import annotations

import torch

from pdl_ros.engines.engine import Engine, EngineSettings
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.errors import PdlError
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant


def open_engine(
    network: PanopticDeepLab,
    variant: Variant,
    device: torch.device,
    settings: EngineSettings,
) -> Engine:
    """Make the engine that `settings` ask for. Raises PdlError where it cannot be had."""
    if settings.engine in ('auto', 'torch'):
        return TorchEngine(network, device)
    raise PdlError(f'Engine {settings.engine!r} is not here yet.')
