"""The fusion of a frame or a batch: the one entry."""

from __future__ import annotations

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
    """
    if len(heads.semantic) != 1:
        raise ValueError(f'fuse takes one frame at a time, not a batch of {len(heads.semantic)}')
    return fuse_plain(heads, label_set, settings, size, valid)
