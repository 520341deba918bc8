"""Segmenter: frames in, panoptic results out. The one entry that the node, the bags, the evaluator
and you call.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
import torch

from pdl_ros.augmentation import InferenceAugmentation
from pdl_ros.engines import EngineSettings, on_device, pick_device
from pdl_ros.engines.factory import open_engine
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.fusion.averaging import View, average_views
from pdl_ros.fusion.graphed import GraphedFusion
from pdl_ros.fusion.smoothing import Smoother
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.network.weight_files import find_weights
from pdl_ros.preprocessing import Preprocessor, check_frame, network_size, padded_size
from pdl_ros.runtime import precompile
from pdl_ros.runtime.progress import told_if_slow


class StageTimes(NamedTuple):
    """How long each stage took, in milliseconds; frames of one batch share them. Of a batch only
    the last frame's read-back is told apart from the fusion.
    """

    preprocess_ms: float
    network_ms: float
    fusion_ms: float
    readback_ms: float


class Segmented(NamedTuple):
    """The results of frames that were segmented together, and what that took."""

    results: list[PanopticResult]
    stages: StageTimes


class Segmenter:
    """Segment RGB frames of any size.

    `engine` says how the network is executed. `fusion` and `augmentation` (test-time augmentation,
    None: off) may be replaced between frames; they take effect on the next one.
    """

    def __init__(
        self,
        network: PanopticDeepLab,
        variant: Variant,
        device: str = 'auto',
        fusion: FusionSettings | None = None,
        engine: EngineSettings | None = None,
    ) -> None:
        self.variant = variant
        settings = engine or EngineSettings()
        size = self.batch_key(*settings.frame_size or (variant.short_edge, variant.long_edge))
        where = pick_device(device)
        with told_if_slow(f'Preparing the network for the device {str(where)!r}'):
            self.engine = open_engine(network, variant, where, settings, size)
        self.fusion = fusion or default_fusion(variant)
        self.augmentation: InferenceAugmentation | None = None
        self._preprocess = Preprocessor(variant, self.device)
        self._fuse: Callable[..., PanopticResult] = fuse
        if self.device.type == 'cuda':
            self._fuse = GraphedFusion(self.device)

    @classmethod
    def load(
        cls,
        name_or_file: str | Path,
        device: str = 'auto',
        variant: str | None = None,
        engine: EngineSettings | None = None,
    ) -> Segmenter:
        """Load a shipped variant by name, or a checkpoint file; `variant` asserts which one it
        holds.
        """
        precompile.start()
        file = find_weights(name_or_file)
        precompile.start()
        with told_if_slow(f'Loading the weights {file}'):
            network, found = checkpoints.load(file, variant)
        settings = replace(engine or EngineSettings(), checkpoint=file)
        return cls(network, found, device, engine=settings)

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

        Several are segmented one after the other, so that a long list needs no more memory than one
        frame; `start` takes a batch.
        """
        if isinstance(frames, np.ndarray):
            return self.timed(frames)[0]
        return [self.timed(frame)[0] for frame in frames]

    def timed(
        self,
        frame: np.ndarray,
        output_size: tuple[int, int] | None = None,
        smoother: Smoother | None = None,
    ) -> tuple[PanopticResult, StageTimes]:
        """Segment one frame and say how long each stage took.

        `output_size` is the (height, width) of the label maps; None: the frame's. `smoother`: that
        of the camera, which sees all its frames in their order; None: each frame stands alone.
        """
        (result,), stages = self.start([frame], [output_size], [smoother])()
        return result, stages

    def batch_key(self, height: int, width: int) -> tuple[int, int]:
        """Return what frames must agree in to be segmented together: the size of the network's
        input.
        """
        return padded_size(network_size(height, width, self.variant), self.variant)

    @torch.inference_mode()
    def start(
        self,
        frames: Sequence[np.ndarray],
        output_sizes: Sequence[tuple[int, int] | None] | None = None,
        smoothers: Sequence[Smoother | None] | None = None,
    ) -> Callable[[], Segmented]:
        """Begin to segment a batch; call what is returned to have the results, on the host.

        Frames of a batch agree in `batch_key`. On a GPU the next batch may begin before the results
        of this one are asked for: its upload and the read-back of this one then overlap with work.
        `output_sizes` and `smoothers` as in `timed`, one a frame.
        """
        for frame in frames:
            check_frame(frame)
        with on_device(self.device):
            return self._start(frames, output_sizes, smoothers or [None] * len(frames))

    def _start(
        self,
        frames: Sequence[np.ndarray],
        output_sizes: Sequence[tuple[int, int] | None] | None,
        smoothers: Sequence[Smoother | None],
    ) -> Callable[[], Segmented]:
        marks = _StageTimer(self.device)
        sizes = [network_size(f.shape[0], f.shape[1], self.variant) for f in frames]
        asked = output_sizes or [None] * len(frames)
        outputs = [o or (f.shape[0], f.shape[1]) for o, f in zip(asked, frames, strict=True)]
        if self.augmentation is None:
            images = torch.cat([self._preprocess(f, s) for f, s in zip(frames, sizes, strict=True)])
            marks.add()
            heads = _split(self.engine(images))
            valid: Sequence[tuple[int, int] | None] = sizes
        else:
            marks.add()
            heads = [self._averaged(f, s) for f, s in zip(frames, sizes, strict=True)]
            valid = [None] * len(frames)
        marks.add()
        heads = [
            smoother(h, frame, size) if smoother else h
            for h, frame, size, smoother in zip(heads, frames, sizes, smoothers, strict=True)
        ]
        copies = []
        for number, (of_frame, output, part) in enumerate(zip(heads, outputs, valid, strict=True)):
            result = self._fuse(of_frame, self.label_set, self.fusion, output, part)
            if number == len(frames) - 1:
                marks.add()
            copies.append(result.start_copy())  # before the next frame's takes its place
        marks.add()

        def finish() -> Segmented:
            stages = marks.milliseconds()  # waits for the device
            return Segmented([copy.compact() for copy in copies], StageTimes(*stages))

        return finish

    @torch.inference_mode()
    def heads(self, frame: np.ndarray) -> tuple[HeadOutputs, tuple[int, int]]:
        """Return what the network says of one frame, and the (height, width) of its input that is
        image: what `fuse` takes. On the device, and overwritten by the next frame.
        """
        check_frame(frame)
        size = network_size(frame.shape[0], frame.shape[1], self.variant)
        with on_device(self.device):
            if self.augmentation is not None:
                return self._averaged(frame, size), size
            return self.engine(self._preprocess(frame, size)), size

    def warm_up(self, height: int = 480, width: int = 640) -> None:
        """Run on an empty frame of the size that is expected, so that the first real one is not
        slowed by allocations and kernel choice.
        """
        with told_if_slow(f'Warming up on empty frames of {width}x{height}'):
            for _ in range(2):
                self(np.zeros((height, width, 3), np.uint8))

    def recover(self) -> None:
        """After a failed frame: hand back what the device's allocator keeps, so that the next one
        has room.
        """
        if self.device.type == 'cuda':
            with on_device(self.device):
                torch.cuda.empty_cache()

    def release(self) -> None:
        """Give the network's memory back; the segmenter cannot be used after it."""
        self.engine.release()
        if isinstance(self._fuse, GraphedFusion):
            self._fuse.graphs.clear()
        self.recover()

    def _averaged(self, frame: np.ndarray, size: tuple[int, int]) -> HeadOutputs:
        align_corners = self.variant.decoder.align_corners
        return average_views(self._views(frame, size), size, align_corners)

    def _views(self, frame: np.ndarray, size: tuple[int, int]) -> Iterator[View]:
        assert self.augmentation is not None
        for scale in self.augmentation.scales:
            scaled = (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1))
            for mirrored in (False, True)[: 1 + self.augmentation.flip]:
                images = self._preprocess(frame, scaled, mirrored)
                yield View(self.engine(images), scaled, mirrored)


class _StageTimer:
    """Moments between the stages of a batch, on the device's own clock."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events: list[torch.cuda.Event] = []
        self._times: list[float] = []
        self.add()

    def add(self) -> None:
        if self._device.type == 'cuda':
            self._events.append(torch.cuda.Event(enable_timing=True))
            self._events[-1].record(torch.cuda.current_stream(self._device))
        else:
            self._times.append(time.perf_counter())

    def milliseconds(self) -> list[float]:
        """Wait for the last moment; return the times between them all."""
        if self._events:
            self._events[-1].synchronize()
            return [a.elapsed_time(b) for a, b in itertools.pairwise(self._events)]
        return [1e3 * (b - a) for a, b in itertools.pairwise(self._times)]


def _split(heads: HeadOutputs) -> list[HeadOutputs]:
    """Take the heads of a batch apart, frame by frame."""
    semantic, center, offset = (head.split(1) for head in heads[:3])
    return [
        HeadOutputs(s, c, o, heads.stride) for s, c, o in zip(semantic, center, offset, strict=True)
    ]


def default_fusion(variant: Variant) -> FusionSettings:
    """Return the fusion settings that belong to a variant."""
    return FusionSettings(align_corners=variant.decoder.align_corners, **variant.fusion)  # type: ignore[arg-type]
