"""From a network and what the user asked for to an engine."""

from __future__ import annotations

import logging
from threading import Event

import torch

from pdl_ros.engines.agreement import read_agreement
from pdl_ros.engines.background import BackgroundEngine
from pdl_ros.engines.candidates import find_candidates, keep_compiled, open_way
from pdl_ros.engines.choice import open_fastest
from pdl_ros.engines.engine import Engine, EngineSettings
from pdl_ros.engines.onnx_engine import OnnxEngine
from pdl_ros.engines.quantised import read_quantised
from pdl_ros.engines.tensorrt_plans import image_shapes, open_tensorrt, weights_digest
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

    size: the (height, width) of the network's input that is expected; None: the variant's usual
    one. Raises PdlError where it cannot be had; with `settings.fallback` that is logged as a
    warning of the logger `pdl_ros.engines`, and the engine is PyTorch.
    """
    if settings.engine == 'torch' and settings.precision != 'auto':
        return TorchEngine(network, device, settings.precision)
    try:
        if settings.engine == 'tensorrt':
            return _open_tensorrt(network, variant, device, settings, size)
        if device.type == 'cpu':
            return _open_on_cpu(network, variant, settings, size)
        return _open_on_gpu(network, variant, device, settings)
    except PdlError as error:
        if not settings.fallback:
            raise
        _log.warning('%s Running on PyTorch instead.', error)
        return TorchEngine(network, device, auto_precision(device))


def _open_on_cpu(
    network: PanopticDeepLab,
    variant: Variant,
    settings: EngineSettings,
    size: tuple[int, int] | None,
) -> Engine:
    """Open what was asked for, or the best of what there is where that leaves a choice."""
    weights = weights_digest(network)
    found = find_candidates(
        settings.engine,
        settings.precision,
        read_agreement(settings.checkpoint, weights),
        read_quantised(settings.checkpoint, weights),
    )
    if len(found.ways) == 1 or all(way.engine == 'torch' for way in found.ways):
        return keep_compiled(open_way(found.ways[0], network, variant, found.quantised))
    size = size or (variant.short_edge, variant.long_edge)
    return open_fastest(network, variant, found, size, settings.batch)


def _open_on_gpu(
    network: PanopticDeepLab, variant: Variant, device: torch.device, settings: EngineSettings
) -> Engine:
    precision = settings.precision
    if settings.engine in ('auto', 'torch'):
        return TorchEngine(
            network, device, auto_precision(device) if precision == 'auto' else precision
        )
    runtime = None if settings.engine == 'onnx' else settings.engine
    return OnnxEngine(network, variant, device, precision, runtime)


def _open_tensorrt(
    network: PanopticDeepLab,
    variant: Variant,
    device: torch.device,
    settings: EngineSettings,
    size: tuple[int, int] | None,
) -> Engine:
    known = size is not None and settings.frame_size is not None
    sized = [image_shapes(variant, size, settings.batch)] if known else []
    shapes = image_shapes(variant, None, settings.batch)

    def make(stop: Event | None = None) -> Engine:
        return open_tensorrt(
            network, variant, device, settings.precision, shapes, stop, instead=sized
        )

    if not settings.background:
        return make()
    # PyTorch's engine is complete before the other thread begins: both trace the network.
    return BackgroundEngine(TorchEngine(network, device, auto_precision(device)), make)
