"""From a network and what the user asked for to an engine."""

from __future__ import annotations

import logging
from threading import Event

import torch

from pdl_ros.engines.agreement import read_agreement
from pdl_ros.engines.background import BackgroundEngine
from pdl_ros.engines.candidates import open_way, possible_ways, the_way_of, without_disagreeing
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
    engine, precision = settings.engine, settings.precision
    weights = weights_digest(network)
    quantised = read_quantised(settings.checkpoint, weights)
    ways = possible_ways(engine, precision, quantised is not None)
    rows = read_agreement(settings.checkpoint, weights) if len(ways) > 1 else ()
    agreeing, refused = without_disagreeing(ways, rows)
    if not agreeing and precision != 'auto':  # then its user has chosen between speed and labels
        agreeing, refused = ways, {}
    if not agreeing:  # what was asked for says what it lacks
        agreeing = [the_way_of(engine, precision)]
    if len(agreeing) == 1 or all(way.engine == 'torch' for way in agreeing):
        return open_way(agreeing[0], network, variant, quantised)
    size = size or (variant.short_edge, variant.long_edge)
    return open_fastest(network, variant, agreeing, refused, rows, quantised, size, settings.batch)


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
