"""Which convolutions int8 leaves in floating point: those that hurt most for what they cost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from torch import Tensor

from pdl_ros.engines.calibration import Calibration, Layer
from pdl_ros.engines.onnx_export import OUTPUTS
from pdl_ros.engines.onnx_sessions import cpu_session

_STEPS = 8

Heads = list[np.ndarray]
Judge = Callable[[bytes], Sequence[float]]
"""An ONNX network -> for each frame the share, 0 to 1, of label pixels that are those of fp32."""
Report = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Sensitivity:
    """How much a layer's rounding moves the heads: the sum of their squared relative L2 errors when
    it alone is in int8.
    """

    layer: Layer
    error: float


@dataclass(frozen=True)
class Narrowed:
    """An int8 network, the layers that it keeps in floating point, in the order in which they were
    given up, and the mean share of equal pixels.
    """

    model: bytes
    wide: tuple[str, ...]
    equal_pixels: float


def measure_sensitivity(
    calibration: Calibration, images: Sequence[Tensor], report: Report
) -> list[Sensitivity]:
    """Quantise each layer alone, and return what that does to the heads of a few images."""
    arrays = [image.contiguous().numpy() for image in images]
    exact = list(_heads(calibration.quantised(()), arrays))
    found = []
    for number, layer in enumerate(calibration.layers):
        report('sensitivity of the layers', number, len(calibration.layers))
        pairs = zip(_heads(calibration.quantised([layer.name]), arrays), exact, strict=True)
        found.append(Sensitivity(layer, float(np.mean([_error(*pair) for pair in pairs]))))
    return found


def narrow(
    calibration: Calibration,
    sensitivities: Collection[Sensitivity],
    mark: float,
    judge: Judge,
    report: Report,
) -> Narrowed:
    """Return the network with as much in int8 as keeps a share `mark` of the label pixels.

    Errors of layers add up, as they are independent. From all layers in int8 on, the error that is
    allowed is halved until the mark is met, at most some times; layers with the largest error for
    their work become wide first.
    """
    order = sorted(sensitivities, key=lambda s: s.error / s.layer.work, reverse=True)
    allowed = sum(s.error for s in order)
    best: Narrowed | None = None
    for step in range(_STEPS):
        report('agreement with fp32', step, _STEPS)
        wide = _wide(order, allowed)
        model = calibration.quantised([s.layer.name for s in order if s.layer.name not in wide])
        found = Narrowed(model, wide, fmean(judge(model)))
        if best is None or found.equal_pixels > best.equal_pixels:
            best = found
        if found.equal_pixels >= mark:
            return found
        allowed /= 2
    assert best is not None
    return best


def _wide(order: Sequence[Sensitivity], allowed: float) -> tuple[str, ...]:
    """Return the first layers, without which the others' errors are no more than allowed."""
    left, wide = sum(s.error for s in order), []
    for sensitivity in order:
        if left <= allowed:
            break
        wide.append(sensitivity.layer.name)
        left -= sensitivity.error
    return tuple(wide)


def _heads(model: bytes, images: Sequence[np.ndarray]) -> Iterator[Heads]:
    session = cpu_session(model)
    for image in images:
        yield session.run(list(OUTPUTS), {'images': image})


def _error(found: Heads, exact: Heads) -> float:
    return sum(
        float(np.square(ours - theirs).sum() / max(np.square(theirs).sum(), 1e-12))
        for ours, theirs in zip(found, exact, strict=True)
    )
