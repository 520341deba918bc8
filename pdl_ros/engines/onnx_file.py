"""Write an ONNX file that is small, whole, and seen to be right."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from pdl_ros.engines.onnx_export import OUTPUTS, Size, export_onnx
from pdl_ros.engines.onnx_sessions import cpu_session
from pdl_ros.errors import require, require_package
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.files import atomic_write

TOLERANCE = 5e-3
"""Most that a head may differ from PyTorch's, as a share of its largest value.

Rounding alone is 1e-6 to 1e-5 with trained weights, and reaches 1.4e-3 in deep networks of random
ones; a wrong window or padding is 0.05 and more.
"""

Shape = tuple[int, int, int, int]


class Written(NamedTuple):
    """How far the heads of a written file are from PyTorch's, and for inputs of which shapes."""

    error: float
    shapes: list[Shape]


def write_onnx(
    network: PanopticDeepLab,
    variant: Variant,
    path: Path,
    size: Size | None = None,
    batch: int | None = None,
) -> Written:
    """Write a simplified ONNX file that was run beside PyTorch.

    `size` and `batch` as in `export_onnx`. Raises PdlError where the file cannot be written or its
    heads are not PyTorch's; then there is no file, or the one that was there before.
    """
    for module in ('onnxslim', 'onnxruntime'):
        require_package(module, 'export')
    buffer = io.BytesIO()
    export_onnx(network, variant, buffer, size, batch)
    shapes = [(batch or 2, 3, *edges) for edges in ([size] if size else telling_sizes(variant))]
    model = _simplified(buffer.getvalue())
    error = largest_error(network, model, shapes)
    require(
        error <= TOLERANCE,
        f'{path} is not written: ONNX Runtime differs from PyTorch by {error:.1e} of the '
        f"heads' largest value, and {TOLERANCE:.0e} is allowed; please report this with the "
        'versions of torch, onnx, onnxslim and onnxruntime.',
    )
    with atomic_write(path) as file:
        file.write(model)
    return Written(error, shapes)


def largest_error(network: PanopticDeepLab, model: Path | bytes, shapes: Iterable[Shape]) -> float:
    """Return how far ONNX Runtime's heads are from PyTorch's for noise of these shapes.

    It is the most of any head, as a share of its largest value; infinity where shapes differ or
    values are not finite.
    """
    session = cpu_session(model)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for shape in shapes:
        images = torch.randn(shape, generator=generator)
        with torch.inference_mode():
            heads = network(images)[:3]
        found = session.run(list(OUTPUTS), {'images': images.numpy()})
        for ours, theirs in zip(heads, map(torch.from_numpy, found), strict=True):
            if ours.shape != theirs.shape or not theirs.isfinite().all():
                return float('inf')
            worst = max(worst, float((ours - theirs).abs().max() / ours.abs().max()))
    return worst


def telling_sizes(variant: Variant) -> list[Size]:
    """Return small (H, W) at which a mistake about sizes shows: odd ones, and features larger than
    the pooling window.
    """
    sizes = [(64, 96), (97, 163)]
    if variant.decoder.pool_window is not None:
        high, wide = ((edge + 2) * variant.output_stride for edge in variant.decoder.pool_window)
        sizes += [(high, 48), (48, wide)]
    return sizes


def _simplified(model: bytes) -> bytes:
    import onnx
    import onnxslim

    slim = onnxslim.slim(onnx.load_from_string(model))
    assert isinstance(slim, onnx.ModelProto)
    return slim.SerializeToString()
