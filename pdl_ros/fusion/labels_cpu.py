# mypy: allow-untyped-defs, no-check-untyped-defs
"""The label maps of the CPU fusion."""

from __future__ import annotations

from pdl_ros.fusion.buffers import TILE_ROWS
from pdl_ros.runtime.compiled import compiled


@compiled
def write_labels(semantic, instance, panoptic, running, panoptic_ids, stuff_ids, start):
    """Turn the centre index 1..K of each pixel of a strip into its labels."""
    for y in range(start, min(start + TILE_ROWS, len(semantic))):
        classes, numbers, ids = semantic[y], instance[y], panoptic[y]
        for x in range(len(classes)):
            center = numbers[x]
            if center > 0:
                ids[x], numbers[x] = panoptic_ids[center], running[center]
            else:
                ids[x] = stuff_ids[classes[x]]
