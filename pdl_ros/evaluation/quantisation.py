"""A network in int8 that keeps the labels: what of it, chosen and measured on frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdl_ros.engines.agreement import LEAST_EQUAL_PIXELS
from pdl_ros.engines.calibration import CPU, Calibration
from pdl_ros.engines.onnx_sessions import run_onnxruntime
from pdl_ros.engines.quantised import note_facts
from pdl_ros.engines.sensitivity import Report, measure_sensitivity, narrow
from pdl_ros.engines.tensorrt_plans import onnx_model, weights_digest
from pdl_ros.errors import require
from pdl_ros.evaluation.equal_pixels import equal_pixels
from pdl_ros.fusion import fuse
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import STRIDE, PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.pipeline import default_fusion
from pdl_ros.preprocessing import Preprocessor, network_size

FRAMES = 96
"""Most frames that are of use: a third each for ranges, to choose layers, and to tell."""
_SENSITIVITY_FRAMES = 2

Run = Callable[[Tensor], Sequence[Any]]


@dataclass(frozen=True)
class Quantised:
    """An int8 network (ONNX), how many of its layers it keeps in floating point, and frames that
    had no part in making it.
    """

    model: bytes
    layers: int
    wide: int
    held_out: tuple[np.ndarray, ...]


def quantise_network(
    network: PanopticDeepLab, variant: Variant, frames: Sequence[np.ndarray], report: Report
) -> Quantised:
    """Return a network in int8 for CPUs that agrees with fp32 on frames (H, W, 3) uint8 RGB.

    Needs at least three frames; a hundred are plenty. Takes some minutes. The same frames and
    versions give the same file.
    """
    require(
        len(frames) >= 3,
        f'int8 needs at least 3 frames to calibrate and to compare, better {FRAMES}, and there are '
        f'{len(frames)}; give more.',
    )
    read, chosen, held_out = _prepared(variant, frames[::3]), frames[1::3], frames[2::3]
    report('ranges of the activations', 0, 1)
    calibration = Calibration(onnx_model(network, variant, 'fp32'), read, CPU)
    sensitivities = measure_sensitivity(
        calibration, _prepared(variant, chosen[:_SENSITIVITY_FRAMES]), report
    )
    judge = EqualPixels(network, variant, chosen)
    found = narrow(
        calibration,
        sensitivities,
        LEAST_EQUAL_PIXELS,
        lambda model: judge(run_onnxruntime(model)),
        report,
    )
    facts = {
        'precision': 'int8',
        'quantised_by': f'onnxruntime {version("onnxruntime")}',
        'calibration': f'{len(read)} frames; {len(found.wide)} layers in fp32',
    }
    return Quantised(
        note_facts(found.model, weights_digest(network), facts),
        len(calibration.layers),
        len(found.wide),
        tuple(held_out),
    )


class EqualPixels:
    """The panoptic pixels that a way to run a network has in common with plain PyTorch."""

    def __init__(
        self, network: PanopticDeepLab, variant: Variant, frames: Sequence[np.ndarray]
    ) -> None:
        self._variant, self._sizes = variant, [frame.shape[:2] for frame in frames]
        self._images = _prepared(variant, frames)
        with torch.inference_mode():
            self._expected = self._labels(network)

    def __call__(self, run: Run) -> list[float]:
        """Return their share of each frame, 0 to 1, as `equal_pixels` counts them.

        run: images (1, 3, H, W) -> the heads, in the order of `OUTPUTS`; what comes after them is
        left aside.
        """
        pairs = zip(self._labels(run), self._expected, strict=True)
        divisor = self._variant.label_set.label_divisor
        return [equal_pixels(ours, theirs, divisor) for ours, theirs in pairs]

    def _labels(self, run: Run) -> list[np.ndarray]:
        return [
            self._fused(run(images), size)
            for images, size in zip(self._images, self._sizes, strict=True)
        ]

    def _fused(self, heads: Sequence[Any], size: tuple[int, int]) -> np.ndarray:
        semantic, center_heatmap, offset = heads[:3]
        result = fuse(
            HeadOutputs(semantic, center_heatmap, offset, STRIDE),
            self._variant.label_set,
            default_fusion(self._variant),
            size,
            network_size(*size, self._variant),
        )
        return result.panoptic.numpy().copy()


def _prepared(variant: Variant, frames: Sequence[np.ndarray]) -> list[Tensor]:
    preprocess = Preprocessor(variant, torch.device('cpu'))
    return [preprocess(f, network_size(f.shape[0], f.shape[1], variant)) for f in frames]
