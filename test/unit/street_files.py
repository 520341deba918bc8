"""Drawn streets as files, in the folder layout of 16-bit PNGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pdl_ros.demo.scene import SceneDataset
from pdl_ros.labels import LabelSet


def write_streets(root: Path, count: int = 2) -> Path:
    """Write some streets of the split val, with the names of their classes; return the folder."""
    for kind in ('images', 'panoptic'):
        (root / kind / 'val').mkdir(parents=True)
    dataset = SceneDataset(count, 160, 256, first_seed=10_000)
    for i in range(count):
        sample = dataset[i]
        known = np.isin(sample.panoptic, [s.id for s in sample.segments])
        panoptic = np.where(known, sample.panoptic, 65535).astype(np.uint16)
        cv2.imwrite(str(root / 'images' / 'val' / f'{i}.png'), sample.image[..., ::-1])
        cv2.imwrite(str(root / 'panoptic' / 'val' / f'{i}.png'), panoptic)
    (root / 'labels.yaml').write_text(LabelSet.load('scene').to_yaml())
    return root
