"""Segmenter: frames in, panoptic results out. The one entry that the node, the bags, the evaluator
and you call.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pdl_ros.engines import TorchEngine, pick_device
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.fusion.averaging import InferenceAugmentation, View, average_views
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant


class StageTimes(NamedTuple):
    """How long each stage of one frame took, in milliseconds."""

    preprocess_ms: float
    network_ms: float
    fusion_ms: float
    readback_ms: float


class Segmenter:
    """Segment RGB frames of any size.

    `fusion` and `augmentation` (test-time augmentation, None: off) may be replaced between frames;
    they take effect on the next one.
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
        self.augmentation: InferenceAugmentation | None = None
        self._mean, self._std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (variant.mean, variant.std)
        )
        pad = torch.tensor(variant.pad_color or variant.mean, device=self.device)
        self._pad = (pad.view(1, 3, 1, 1) - self._mean) / self._std

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
    def timed(
        self, frame: np.ndarray, output_size: tuple[int, int] | None = None
    ) -> tuple[PanopticResult, StageTimes]:
        """Segment one frame and say how long each stage took.

        `output_size` is the (height, width) of the label maps; None: the frame's.
        """
        _check_frame(frame)
        marks = [self._now()]
        size = network_size(frame.shape[0], frame.shape[1], self.variant)
        if self.augmentation is None:
            images = self._preprocess(frame, size)
            marks.append(self._now())
            heads, valid = self.engine(images), size
        else:
            marks.append(self._now())
            views, valid = self._views(frame, size), None
            heads = average_views(views, size, self.variant.decoder.align_corners)
        marks.append(self._now())
        result = fuse(heads, self.label_set, self.fusion, output_size or frame.shape[:2], valid)
        marks.append(self._now())
        result = result.cpu()
        marks.append(self._now())
        return result, StageTimes(*(1e3 * (b - a) for a, b in itertools.pairwise(marks)))

    def warm_up(self, height: int = 480, width: int = 640) -> None:
        """Run once on an empty frame, so that the first real one is not slowed by allocations and
        kernel choice.
        """
        self(np.zeros((height, width, 3), np.uint8))

    def recover(self) -> None:
        """After a failed frame: hand back what the device's allocator keeps, so that the next one
        has room.
        """
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def release(self) -> None:
        """Give the network's memory back; the segmenter cannot be used after it."""
        self.engine.release()
        self.recover()

    def _views(self, frame: np.ndarray, size: tuple[int, int]) -> Iterator[View]:
        assert self.augmentation is not None
        for scale in self.augmentation.scales:
            scaled = (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
            for mirrored in (False, True)[: 1 + self.augmentation.flip]:
                images = self._preprocess(frame, scaled, mirrored)
                yield View(self.engine(images), scaled, mirrored)

    def _preprocess(
        self, frame: np.ndarray, size: tuple[int, int], mirrored: bool = False
    ) -> Tensor:
        """Return the (1, 3, H, W) input: the frame at `size`, normalised, padded below and to the
        right.
        """
        # PyTorch warns of arrays it could write to but must not, such as views of a message.
        pixels = torch.from_numpy(np.require(frame, requirements=('C', 'W')))
        x = pixels.to(self.device).permute(2, 0, 1)[None].float()
        if size != x.shape[-2:]:
            x = F.interpolate(x, size, mode='bilinear', align_corners=False, antialias=True)
        x = (x - self._mean) / self._std
        canvas = self._pad.repeat(1, 1, *padded_size(size, self.variant))
        canvas[..., : size[0], : size[1]] = x.flip(-1) if mirrored else x
        return canvas

    def _now(self) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def default_fusion(variant: Variant) -> FusionSettings:
    """Return the fusion settings that belong to a variant."""
    return FusionSettings(align_corners=variant.decoder.align_corners, **variant.fusion)  # type: ignore[arg-type]


def network_size(height: int, width: int, variant: Variant) -> tuple[int, int]:
    """Return the (height, width) at which a frame enters the network, before padding.

    The short edge becomes `variant.short_edge`, unless the long edge would then pass
    `variant.long_edge`.
    """
    scale = min(variant.short_edge / min(height, width), variant.long_edge / max(height, width))
    high, wide = (max(int(edge * scale + 0.5), 1) for edge in (height, width))
    return high, wide


def padded_size(size: tuple[int, int], variant: Variant) -> tuple[int, int]:
    """Return the (height, width) of the network's input when the frame in it has `size`."""
    # An align-corners grid has one sample more than it has intervals.
    extra = 1 if variant.decoder.align_corners else 0
    high, wide = (edge + (extra - edge) % variant.size_divisor for edge in size)
    return high, wide


def _check_frame(frame: np.ndarray) -> None:
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
        raise PdlError(
            f'A frame must be an (H, W, 3) uint8 RGB array that is not empty; '
            f'this one is {frame.shape} {frame.dtype}.'
        )
