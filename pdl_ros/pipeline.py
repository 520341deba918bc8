"""Segmenter: frames in, panoptic results out. The one entry that the node, the bags, the evaluator
and you call.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.engines import TorchEngine, pick_device
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import STRIDE, PanopticDeepLab
from pdl_ros.network.variants import Variant


class StageTimes(NamedTuple):
    """How long each stage of one frame took, in milliseconds."""

    preprocess_ms: float
    network_ms: float
    fusion_ms: float
    readback_ms: float


class Segmenter:
    """Segment RGB frames of any size.

    `fusion` may be replaced between frames; it takes effect on the next one.
    """

    def __init__(
        self,
        network: PanopticDeepLab,
        variant: Variant,
        device: str = 'auto',
        fusion: FusionSettings | None = None,
    ) -> None:
        self.variant = variant
        self.engine = TorchEngine(network, pick_device(device))
        self.fusion = fusion or default_fusion(variant)
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (variant.mean, variant.std)
        )

    @classmethod
    def load(
        cls, name_or_file: str | Path, device: str = 'auto', variant: str | None = None
    ) -> Segmenter:
        """Load a shipped variant by name, or a checkpoint file; `variant` asserts which one it
        holds.
        """
        network, found = checkpoints.load(name_or_file, variant)
        return cls(network, found, device)

    @property
    def label_set(self) -> LabelSet:
        """The classes that the weights were trained on."""
        return self.variant.label_set

    @property
    def device(self) -> torch.device:
        """Where the network and the fusion run."""
        return self.engine.device

    @overload
    def __call__(self, frames: np.ndarray) -> PanopticResult: ...

    @overload
    def __call__(self, frames: Sequence[np.ndarray]) -> list[PanopticResult]: ...

    def __call__(
        self, frames: np.ndarray | Sequence[np.ndarray]
    ) -> PanopticResult | list[PanopticResult]:
        """Segment one (H, W, 3) uint8 RGB frame, or several; results are on the host, at each
        frame's size.
        """
        if isinstance(frames, np.ndarray):
            return self.timed(frames)[0]
        return [self.timed(frame)[0] for frame in frames]

    @torch.inference_mode()
    def timed(self, frame: np.ndarray) -> tuple[PanopticResult, StageTimes]:
        """Segment one frame and say how long each stage took."""
        _check_frame(frame)
        marks = [self._now()]
        images, valid = self._preprocess(frame)
        marks.append(self._now())
        heads = self.engine(images)
        marks.append(self._now())
        size = (frame.shape[0], frame.shape[1])
        result = fuse(heads, self.label_set, self.fusion, size, valid)
        marks.append(self._now())
        result = result.cpu()
        marks.append(self._now())
        return result, StageTimes(*(1e3 * (b - a) for a, b in itertools.pairwise(marks)))

    def warm_up(self, height: int = 480, width: int = 640) -> None:
        """Run once on an empty frame, so that the first real one is not slowed by allocations and
        kernel choice.
        """
        self(np.zeros((height, width, 3), np.uint8))

    def _preprocess(self, frame: np.ndarray) -> tuple[Tensor, tuple[int, int]]:
        """Return the normalised, padded (1, 3, H, W) input and the size of its part that is
        image.
        """
        size = network_size(frame.shape[0], frame.shape[1], self.variant)
        # PyTorch warns of arrays it could write to but must not, such as views of a message.
        pixels = torch.from_numpy(np.require(frame, requirements=('C', 'W')))
        x = pixels.to(self.device).permute(2, 0, 1)[None].float()
        if size != x.shape[-2:]:
            x = F.interpolate(x, size, mode='bilinear', align_corners=False, antialias=True)
        x = (x - self._mean) / self._std
        # An align-corners grid has one sample more than it has intervals.
        extra = 1 if self.variant.decoder.align_corners else 0
        below, right = ((extra - s) % self.variant.size_divisor for s in size)
        return F.pad(x, (0, right, 0, below)), size

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def default_fusion(variant: Variant) -> FusionSettings:
    """Return the fusion settings that belong to a variant."""
    return FusionSettings(align_corners=variant.decoder.align_corners, **variant.fusion)  # type: ignore[arg-type]


def network_size(height: int, width: int, variant: Variant) -> tuple[int, int]:
    """Return the size at which a frame enters the network, before padding: whole steps of the head
    stride.

    The short edge becomes `variant.short_edge`, unless the long edge would then pass
    `variant.long_edge`.
    """
    scale = min(variant.short_edge / min(height, width), variant.long_edge / max(height, width))
    extra = 1 if variant.decoder.align_corners else 0
    high, wide = (
        max(round((edge * scale - extra) / STRIDE), 1) * STRIDE + extra for edge in (height, width)
    )
    return high, wide


def _check_frame(frame: np.ndarray) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise PdlError(
            f'A frame must be an (H, W, 3) uint8 RGB array that is not empty; '
            f'this one is {frame.shape} {frame.dtype}.'
        )
