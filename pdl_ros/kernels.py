"""All CPU kernels, each called once with what a frame would call it with, so that it is compiled.

    python -m pdl_ros.kernels            compile what this machine's cache lacks
    python -m pdl_ros.kernels GROUP      the same for one group, in this process

Nothing here imports PyTorch, which takes longer to load than a group to compile.
"""

from __future__ import annotations

import sys

import numpy as np

from pdl_ros.fusion.buffers import TILE_COLUMNS, empty_tallies, worker_buffers
from pdl_ros.fusion.views import AxisView, HeadView
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import LabelClass
from pdl_ros.runtime import precompile

_SIZE = 2  # pixels of the frame's sides


def main(arguments: list[str]) -> int:
    """Compile one group, or have all compiled; return 0 when they are."""
    if not arguments:
        return 0 if precompile.wait() else 1
    with precompile.compiling(arguments[0]) as missing:
        if missing:
            {'pixels': _segment_pixels, 'others': _do_the_rest}[arguments[0]]()
    return 0


def _segment_pixels() -> None:
    from pdl_ros.fusion.grouping_cpu import Centers
    from pdl_ros.fusion.pixels_cpu import segment_strip

    axis, logits, offset = _axis(), _head(3), _head(2)
    y, x, own = np.zeros((3, 1), np.float32)
    centers = Centers(y, x, own, np.zeros((9, 9), np.int32), np.zeros((9, 9, 1), np.int32))
    tallies = empty_tallies(1, 1, 1)
    segment_strip(
        logits, offset, axis, axis.padded(TILE_COLUMNS), (np.float32(1), np.float32(1)),
        centers, np.full(256, -1, np.int32), *_maps()[:2], tallies[0],
        *worker_buffers(3, _SIZE, 1, axis), 0,
    )  # fmt: skip


def _do_the_rest() -> None:
    from pdl_ros.fusion.centers_cpu import find_centers
    from pdl_ros.fusion.grouping_cpu import nearby_centers
    from pdl_ros.fusion.labels_cpu import write_labels
    from pdl_ros.imaging.masks import coco_masks
    from pdl_ros.visualization import overlay

    axis, (semantic, instance, panoptic) = _axis(), _maps()
    find_centers(_head(1), axis, axis, 0.1, 7, 200, 1)
    nearby_centers(np.zeros((1, 2), np.float32), _SIZE, _SIZE, 1)
    ids = np.zeros(256, np.int32)
    write_labels(semantic, instance, panoptic, ids, ids, ids, 0)
    coco_masks(instance, [0])
    one = LabelSet('one', (LabelClass('one', (0, 0, 0), False),), 1000)
    overlay(np.zeros((_SIZE, _SIZE, 3), np.uint8), panoptic, one)


def _axis() -> AxisView:
    at = np.arange(_SIZE, dtype=np.uint32)
    return AxisView(at, at, np.zeros(_SIZE, np.float32), np.ones(_SIZE, np.float32))


def _head(channels: int) -> HeadView:
    zeros = np.zeros(channels * _SIZE**2, np.float32)
    return HeadView(zeros, _SIZE**2, _SIZE, 1, channels, _SIZE, _SIZE)


def _maps() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = (_SIZE, _SIZE)
    return np.zeros(size, np.uint8), np.zeros(size, np.int32), np.zeros(size, np.int32)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
