"""From a network and what the user asked for to an engine."""

from __future__ import annotations

import logging
from threading import Event

import torch

from pdl_ros.engines.background import BackgroundEngine
from pdl_ros.engines.engine import Engine, EngineSettings
from pdl_ros.engines.torch_engine import TorchEngine, auto_precision
from pdl_ros.errors import PdlError
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant

_log = logging.getLogger('pdl_ros.engines')


def open_engine(
    network: PanopticDeepLab,
    variant: Variant,
    device: torch.device,
    settings: EngineSettings,
    size: tuple[int, int] | None = None,
) -> Engine:
    """Make the engine that `settings` ask for.

    size: the (height, width) of the network's input that is expected, by `settings.frame_size`.
    Raises PdlError where it cannot be had; with `settings.fallback` that is logged as a warning of
    the logger `pdl_ros.engines`, and the engine is PyTorch.
    """
    if settings.engine in ('auto', 'torch'):
        precision = settings.precision
        return TorchEngine(
            network, device, auto_precision(device) if precision == 'auto' else precision
        )
    try:
        if settings.engine == 'onnx':
            from pdl_ros.engines.onnx_engine import OnnxEngine

            return OnnxEngine(network, variant, device, settings.precision)
        return _open_tensorrt(network, variant, device, settings, size)
    except PdlError as error:
        if not settings.fallback:
            raise
        _log.warning('%s Running on PyTorch instead.', error)
        return TorchEngine(network, device, auto_precision(device))


def _open_tensorrt(
    network: PanopticDeepLab,
    variant: Variant,
    device: torch.device,
    settings: EngineSettings,
    size: tuple[int, int] | None,
) -> Engine:
    from pdl_ros.engines.tensorrt_plans import image_shapes, open_tensorrt

    sized = [] if size is None else [image_shapes(variant, size, settings.batch)]
    shapes = image_shapes(variant, None, settings.batch)

    def make(stop: Event | None = None) -> Engine:
        return open_tensorrt(
            network, variant, device, settings.precision, shapes, stop, instead=sized
        )

    if not settings.background:
        return make()
    # PyTorch's engine is complete before the other thread begins: both trace the network.
    return BackgroundEngine(TorchEngine(network, device, auto_precision(device)), make)
