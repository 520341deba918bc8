"""The fusion of a frame or a batch: the one entry, on whatever device the heads are."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from pdl_ros.fusion.plain import fuse_plain
from pdl_ros.fusion.result import PanopticResult
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs


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

    What is merged how is told by `plain.fuse_plain`; this gives the same maps, pixel for pixel, and
    the same table, with scores to 1e-5. Heads may be of any float type and memory format. What is
    NaN or infinite is no evidence: other classes win, no centre stands there, and what is left
    without class, centre or offset is void. So are the instances of a class beyond the
    ``label_divisor - 1`` that its ids have room for, in reading order of their centres.
    """
    if len(heads.semantic) != 1:
        raise ValueError(
            f'fuse takes one frame at a time, not a batch of {len(heads.semantic)}; '
            'fuse_batch takes any number'
        )
    return fuse_batch(heads, label_set, settings, size, valid)[0]


@torch.inference_mode()
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
    # Imported where they are used: a machine with a GPU needs no numba, one without no Triton.
    device = heads.semantic.device.type
    if device == 'cpu':
        from pdl_ros.fusion.fuse_cpu import fuse_cpu

        return fuse_cpu(heads, label_set, settings, size, valid)
    if device == 'cuda' and find_spec('triton') is not None:
        from pdl_ros.fusion.fuse_triton import fuse_triton

        return fuse_triton(heads, label_set, settings, size, valid)
    logits, heatmaps, offsets = (head.split(1) for head in heads[:3])
    return [
        fuse_plain(HeadOutputs(*frame, heads.stride), label_set, settings, size, valid)
        for frame in zip(logits, heatmaps, offsets, strict=True)
    ]
