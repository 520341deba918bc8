"""The fusion of a frame or a batch: the one entry, on whatever device the heads are."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from pdl_ros.fusion import reference
from pdl_ros.fusion.result import PanopticResult
from pdl_ros.fusion.sampling import Grids, sampling_grids
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.runtime.triton_cache import choose_triton_cache

FuseFrame = Callable[[Tensor, Tensor, Tensor, Grids, LabelSet, FusionSettings], PanopticResult]
"""Semantic logits (C, h, w), heatmap (1, h, w) and offset (2, h, w) of a frame, and where they are
sampled -> its result.
"""


def fuse(
    heads: HeadOutputs,
    label_set: LabelSet,
    settings: FusionSettings,
    size: tuple[int, int],
    valid: tuple[int, int] | None = None,
) -> PanopticResult:
    """Merge the head outputs of one frame (N = 1) into label maps of `size` (height, width).

    `valid` is the (height, width) of the part of the network's input, from its top left, that the
    label maps cover; the rest is padding. None: there is none.

    `reference.fuse_frame` tells what is merged and how; this gives the same maps, pixel for pixel,
    and the same table, with scores to 1e-5 (so a thing whose score is that near to
    `score_threshold` may differ). Heads may be of any float type and memory format. What
    is NaN or infinite is no evidence: other classes win, no centre stands there, and what is left
    without class, centre or offset is void. So are the instances of a class beyond the
    ``label_divisor - 1`` that its ids have room for, in reading order of their centres.
    """
    if len(heads.semantic) != 1:
        raise ValueError(
            f'fuse takes one frame at a time, not a batch of {len(heads.semantic)}; '
            'fuse_batch takes any number'
        )
    return fuse_batch(heads, label_set, settings, size, valid)[0]


def fuse_batch(
    heads: HeadOutputs,
    label_set: LabelSet,
    settings: FusionSettings,
    size: tuple[int, int],
    valid: tuple[int, int] | None = None,
) -> list[PanopticResult]:
    """Do what `fuse` does for each of N frames of the same size.

    On a GPU without Triton, and on devices that are neither CPU nor CUDA, the plain definition
    runs: the same result, slowly.
    """
    return fuse_each(_fastest(heads.semantic.device), heads, label_set, settings, size, valid)


def fuse_reference(
    heads: HeadOutputs,
    label_set: LabelSet,
    settings: FusionSettings,
    size: tuple[int, int],
    valid: tuple[int, int] | None = None,
) -> PanopticResult:
    """Do what `fuse` does by the plain definition, on any device: slowly, for comparison."""
    (result,) = fuse_each(reference.fuse_frame, heads, label_set, settings, size, valid)
    return result


@torch.inference_mode()
def fuse_each(
    fuse_frame: FuseFrame,
    heads: HeadOutputs,
    label_set: LabelSet,
    settings: FusionSettings,
    size: tuple[int, int],
    valid: tuple[int, int] | None = None,
) -> list[PanopticResult]:
    """Fuse each frame by one of the implementations: the `fuse_frame` of `reference`, `fuse_cpu` or
    `fuse_triton`.
    """
    grids = sampling_grids(heads, size, valid, settings.align_corners, settings.rescale)
    with torch.cuda.device_of(heads.semantic):  # Triton launches on the current device
        return [
            fuse_frame(logits, heatmap, offset, grids, label_set, settings)
            for logits, heatmap, offset in zip(*heads[:3], strict=True)
        ]


def _fastest(device: torch.device) -> FuseFrame:
    # Imported where they are used: a machine with a GPU needs no numba, one without no Triton.
    if device.type == 'cpu':
        from pdl_ros.fusion import fuse_cpu

        return fuse_cpu.fuse_frame
    if device.type == 'cuda' and find_spec('triton'):
        return _triton()
    return reference.fuse_frame


@lru_cache
def _triton() -> FuseFrame:
    choose_triton_cache()
    from pdl_ros.fusion import fuse_triton

    return fuse_triton.fuse_frame
