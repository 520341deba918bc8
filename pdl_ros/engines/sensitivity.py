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
    """Return the network with as much in int8 as keeps a share `mark` of the label pixels; where
    nothing does, the one that keeps most.

    Layers with the largest error for their work become wide first; how many do is found by
    bisection.
    """
    order = sorted(sensitivities, key=lambda s: s.error / s.layer.work, reverse=True)
    names = [s.layer.name for s in order]
    fails, passes, tried = -1, len(names) + 1, list[Narrowed]()
    while passes - fails > 1:
        report('agreement with fp32', len(tried), (len(names) + 1).bit_length())
        count = (fails + passes) // 2
        model = calibration.quantised(names[count:])
        tried.append(Narrowed(model, tuple(names[:count]), fmean(judge(model))))
        if tried[-1].equal_pixels >= mark:
            passes = count
        else:
            fails = count
    if passes <= len(names):
        return next(found for found in tried if len(found.wide) == passes)
    return max(tried, key=lambda found: found.equal_pixels)


def _heads(model: bytes, images: Sequence[np.ndarray]) -> Iterator[Heads]:
    session = cpu_session(model)
    for image in images:
        yield session.run(list(OUTPUTS), {'images': image})


def _error(found: Heads, exact: Heads) -> float:
    return sum(
        float(np.square(ours - theirs).sum() / max(np.square(theirs).sum(), 1e-12))
        for ours, theirs in zip(found, exact, strict=True)
    )
