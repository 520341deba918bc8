"""Segment pictures, a video or a bag without ROS: an overlay of each frame, and its things cut out.

python3 segment_pictures.py street.jpg out/
python3 segment_pictures.py drive.mcap:/front/image out/ my_weights.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter
from pdl_ros.sources import open_source
from pdl_ros.visualization import overlay


def main(source: str, out: str, weights: str = 'street_efficientnet_lite0') -> None:
    """Write NNN.png and NNN_class_id.png of every frame and thing into a folder."""
    segmenter = Segmenter.load(weights)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for number, rgb in enumerate(open_source(source)):
        result = segmenter(rgb)
        picture = overlay(rgb, result.panoptic.numpy(), segmenter.label_set)
        cv2.imwrite(str(folder / f'{number:03d}.png'), picture[..., ::-1])
        print(f'{number:03d}: {describe(result, segmenter.label_set)}')
        cut_out_things(rgb, result, segmenter.label_set, folder / f'{number:03d}')


def describe(result: PanopticResult, label_set: LabelSet) -> str:
    """Return the share of each segment in the picture, the largest first."""
    rows = sorted(result.segments.rows(), key=lambda row: -row['area'])
    names = [label_set.classes[row['class_id']].name for row in rows]
    share = [f'{row["area"] / result.panoptic.numel():.1%}' for row in rows]
    return ', '.join(map(' '.join, zip(names, share, strict=True)))


def cut_out_things(rgb: np.ndarray, result: PanopticResult, labels: LabelSet, stem: Path) -> None:
    """Write each thing in its box; what is not the thing is transparent."""
    instance = result.instance.numpy()
    for row in result.segments.rows():
        if row['is_thing']:
            x0, y0, x1, y1 = row['box']
            mask = instance[y0:y1, x0:x1] == row['instance_id']
            bgra = np.dstack([rgb[y0:y1, x0:x1, ::-1], np.where(mask, 255, 0).astype(np.uint8)])
            name = labels.classes[row['class_id']].name
            cv2.imwrite(f'{stem}_{name}_{row["instance_id"]}.png', bgra)


if __name__ == '__main__':
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (PdlError, OSError) as error:
        sys.exit(str(error))
