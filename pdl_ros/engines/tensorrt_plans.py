"""From a network to a TensorRT engine: out of the cache, or built and kept there.

Nothing here needs TensorRT until an engine is loaded or built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pdl_ros import __version__
from pdl_ros.engines.calibration import halve, quantise
from pdl_ros.engines.devices import on_device
from pdl_ros.engines.engine import Engine
from pdl_ros.engines.progress import Progress
from pdl_ros.errors import PdlError, require
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime import cache

if TYPE_CHECKING:
    from types import ModuleType

Shape = tuple[int, int, int, int]
Shapes = tuple[Shape, Shape, Shape]
"""The smallest, usual and largest images (N, 3, H, W) of an engine."""

_LOG = logging.getLogger('pdl_ros.engines')


def image_shapes(variant: Variant, size: tuple[int, int] | None = None, batch: int = 1) -> Shapes:
    """Return the shapes to build for: images of one `size` (height, width) of the network's input,
    or None: of all cameras, upright or not, up to about four times as long as wide; in batches of
    up to `batch`.
    """
    if size is not None:
        return (1, 3, *size), (1, 3, *size), (batch, 3, *size)
    short, long, step = variant.short_edge, variant.long_edge, variant.size_divisor
    least, most = short // 2, long + step  # a frame is padded by less than a step
    return (1, 3, least, least), (1, 3, short, long), (batch, 3, most, most)


def open_tensorrt(
    network: PanopticDeepLab,
    variant: Variant,
    device: torch.device,
    precision: str = 'auto',
    shapes: Shapes | None = None,
    stop: threading.Event | None = None,
    calibration: Iterable[Tensor] | None = None,
    instead: Sequence[Shapes] = (),
) -> Engine:
    """Return a TensorRT engine from the cache; build it, which takes minutes, where there is none
    that fits.

    precision: fp32, fp16 (auto) or int8. calibration: for int8, batches of normalised images (N, 3,
    H, W) float32; None: what an earlier calibration of these weights found. Setting `stop` ends a
    build early. instead: shapes of engines that are taken before, where the cache has them. Raises
    PdlError where there is no TensorRT, no GPU, or it fails.
    """
    precision = 'fp16' if precision == 'auto' else precision
    require(
        precision in ('fp32', 'fp16', 'int8'),
        f'TensorRT runs fp32, fp16 or int8 here, not {precision}.',
    )
    require(
        device.type == 'cuda',
        f'TensorRT needs a CUDA device, and the device is {device}; use engine torch or onnx.',
    )
    trt = _tensorrt()
    shapes = shapes or image_shapes(variant)
    facts = model_facts(network, variant, precision)
    model = _int8_model(network, variant, facts, calibration) if precision == 'int8' else None
    gpu = torch.cuda.get_device_properties(device)
    facts |= {
        'what': f'{facts["what"]}.engine',
        'model': '' if model is None else hashlib.sha256(model).hexdigest(),
        'tensorrt': trt.__version__,
        'cuda': str(torch.version.cuda),
        'gpu': f'{gpu.name} {gpu.major}.{gpu.minor}',
    }
    timings = {name: facts[name] for name in ('tensorrt', 'cuda', 'gpu')} | {
        'what': 'tensorrt.timings'
    }

    def load(plan: bytes) -> Engine:
        from pdl_ros.engines.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(plan, device, precision)

    def build() -> bytes:
        from pdl_ros.engines.tensorrt_engine import build

        title = f'TensorRT engine {variant.name} {precision}'
        with Progress(title, stop) as progress, on_device(device):
            progress.step('export to ONNX', 0, 1)
            exported = model or onnx_model(network, variant, precision)
            progress.finish('export to ONNX')
            plan, known = build(exported, shapes, cache.load(timings) or b'', progress)
        cache.store(timings, known)
        return plan

    try:
        return load_or_build([{**facts, 'shapes': str(s)} for s in (*instead, shapes)], load, build)
    except torch.cuda.OutOfMemoryError:
        raise PdlError(
            f'The memory of {gpu.name} is too short for the TensorRT engine; build it for smaller '
            'images or batches, or end what else runs there.'
        ) from None


def load_or_build(
    choices: Sequence[cache.Facts], load: Callable[[bytes], Engine], build: Callable[[], bytes]
) -> Engine:
    """Load the first of these that the cache holds; build and keep the last if there is none, or
    none that loads.
    """
    for facts in choices:
        plan = cache.load(facts)
        if plan is not None:
            try:
                return load(plan)
            except PdlError as error:
                end = 'built anew' if facts is choices[-1] else 'not used'
                _LOG.warning('%s is %s: %s', cache.cache_file(facts), end, error)
    plan = build()
    cache.store(choices[-1], plan)
    return load(plan)


def model_facts(network: PanopticDeepLab, variant: Variant, precision: str) -> dict[str, str]:
    """Return all that the ONNX file of a network depends on."""
    return {
        'what': f'{variant.name}-{precision}',
        'weights': weights_digest(network),
        'variant': repr((variant.backbone, variant.output_stride, variant.multi_grid))
        + repr((variant.encoder_norm_eps, variant.decoder)),
        'precision': precision,
        'pdl_ros': __version__,
    }


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the names, shapes, types and values of a network's parameters and
    buffers.
    """
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f'{name} {tuple(values.shape)} {values.dtype}\n'.encode())
        digest.update(values.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def onnx_model(network: PanopticDeepLab, variant: Variant, precision: str) -> bytes:
    """Export a network to ONNX in fp32 or fp16, for images of any shape."""
    from pdl_ros.engines.onnx_export import export_onnx

    exported = io.BytesIO()
    export_onnx(network, variant, exported)
    return halve(exported.getvalue()) if precision == 'fp16' else exported.getvalue()


def _int8_model(
    network: PanopticDeepLab,
    variant: Variant,
    facts: cache.Facts,
    calibration: Iterable[Tensor] | None,
) -> bytes:
    facts = {**facts, 'what': f'{facts["what"]}.onnx'}
    if calibration is not None:
        model = quantise(onnx_model(network, variant, 'fp32'), calibration)
        cache.store(facts, model)
        return model
    kept = cache.load(facts)
    if kept is None:
        raise PdlError(
            f'int8 needs ranges measured on images: run pdl_ros export tensorrt --precision int8 '
            f'--calibrate FOLDER for {variant.name} once.'
        )
    return kept


def _tensorrt() -> ModuleType:
    require(
        importlib.util.find_spec('tensorrt') is not None,
        'This needs the package tensorrt (10.1 or newer), for the CUDA of your PyTorch: '
        'pip install tensorrt-cu12 or tensorrt-cu13.',
    )
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise PdlError(f'The package tensorrt does not load: {error}.') from None
    return tensorrt
