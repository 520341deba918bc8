"""Head outputs that are hard to fuse: plateaus, ties, numbers that are none, odd sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pdl_ros.fusion import FusionSettings
from pdl_ros.fusion.settings import WITHOUT_CENTER
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.network.heads import HeadOutputs

Choose = Callable[[Sequence[Any]], Any]
"""Picks one of some values."""

_BROKEN = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e19, 1e-40)


def label_set_of(classes: int, things: int, divisor: int = 100) -> LabelSet:
    """Make classes of which every other one is a thing, until there are `things` of them."""
    return LabelSet(
        f'{classes} classes',
        tuple(LabelClass(str(c), (c, c, c), c % 2 == 1 and c < 2 * things) for c in range(classes)),
        divisor,
    )


TINY = label_set_of(5, 2)
"""What `hard_frame` makes heads for."""


def hard_frame(
    rng: np.random.Generator, choose: Choose
) -> tuple[HeadOutputs, tuple[int, int], tuple[int, int] | None]:
    """Return heads of up to 12×80 samples, an output size, and what of the input is image."""
    h, w = choose(range(1, 13)), choose(range(1, 81))
    patch = choose((1, 4, 20))  # large patches: classes that cannot win are skipped
    shape = (-(-h // patch), -(-w // patch))
    logits = np.kron(rng.normal(0, 4, (5, *shape)), np.ones((1, patch, patch)))[:, :h, :w]
    logits += rng.normal(0, choose((0, 0.1, 3)), logits.shape)
    if choose((False, True)):  # classes tie
        logits = np.round(logits / 2)
    steps = choose((2, 4, 50))  # few steps make plateaus
    heatmap = rng.integers(-1, steps + 1, (1, h, w)) / steps
    heatmap *= rng.random((1, h, w)) < choose((0, 0.02, 0.3, 1))
    offset = rng.normal(0, choose((1, 30, 1000)), (2, h, w))
    if choose((False, True)):  # centres are equally far
        offset = np.round(offset * 2) / 2
    heads = [a.astype(np.float32) for a in (logits, heatmap, offset)]
    for _ in range(choose(range(5))):
        _break(heads[choose(range(3))], choose)
    stride = choose((1, 4))
    size = (h * stride, w * stride)
    if choose((False, True)):
        size = choose(range(1, 91)), choose(range(1, 141))
    valid = None
    if choose((False, True)):
        valid = choose(range(1, h * stride + 1)), choose(range(1, w * stride + 1))
    semantic, center, offsets = (torch.from_numpy(a)[None] for a in heads)
    return HeadOutputs(semantic, center, offsets, stride), size, valid


def hard_settings(choose: Choose) -> FusionSettings:
    """Return settings for such a frame, each at its limits or as usual."""
    return FusionSettings(
        center_threshold=choose((0.0, 0.1, 0.5)),
        nms_kernel=choose((1, 3, 7, 41)),
        top_k=choose((*range(1, 9), 200, 5000)),
        stuff_area=choose(range(301)),
        without_center=choose(WITHOUT_CENTER),
        outvoted_area=choose((0, 0, 1, 5, 40)),
        objectness=choose(('center', 'mask_centroid')),
        score=choose(('both', 'semantic', 'instance')),
        score_threshold=choose((0.0, 0.0, 0.137, 0.639)),  # no score is just there
        doubtful_area=choose((0, 0, 5, 40)),
        align_corners=choose((False, True)),
        rescale=choose((False, True)),
    )


def _break(head: np.ndarray, choose: Choose) -> None:
    value, (_, h, w) = choose(_BROKEN), head.shape
    if choose((False, True)):
        head.flat[choose(range(head.size))] = value
    else:  # every class, at one place
        head[:, choose(range(h)), choose(range(w))] = value
