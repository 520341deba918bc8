"""`pdl_ros infer`: segment image files, videos and bags into files, without ROS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.options import (
    DEFAULT_VARIANT,
    Device,
    EngineName,
    Flip,
    OutFolder,
    Precision,
    Scales,
    Weights,
    open_segmenter,
)
from pdl_ros.runtime.files import atomic_write, write_json

if TYPE_CHECKING:
    import numpy as np

    from pdl_ros.fusion import PanopticResult
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter
    from pdl_ros.sources import Source


def infer(
    source: Annotated[
        str, typer.Argument(help='An image, a video, a folder of images or a rosbag.')
    ],
    out: Annotated[Path, OutFolder] = Path('output'),
    weights: Weights = DEFAULT_VARIANT,
    device: Device = 'auto',
    scales: Scales = '1',
    flip: Flip = False,
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
) -> None:
    """Segment files without ROS: a 16-bit panoptic PNG, an overlay and a segment list for each
    frame.
    """
    from pdl_ros.sources import open_source

    frames = open_source(source)  # before the network: it may not be there
    segmenter = open_segmenter(weights, device, scales, flip, engine, precision)
    count = infer_frames(frames, segmenter, out)
    print(f'{count} frames segmented into {out}/')


def infer_frames(frames: Source, segmenter: Segmenter, out: Path) -> int:
    """Segment every frame of a source; return their number.

    For each frame writes ``NNNNNN_panoptic.png`` (16 bit, class × label_divisor + instance, 65535 =
    void), ``NNNNNN_overlay.png`` and ``NNNNNN.json`` with its segments.
    """
    import numpy as np
    from rich.progress import track

    from pdl_ros.visualization import overlay

    count = 0
    for rgb in track(frames, 'segmenting', total=frames.length):
        result = segmenter(rgb)
        panoptic = result.panoptic.numpy()
        picture = overlay(rgb, panoptic, segmenter.label_set)
        _write(out / f'{count:06d}_panoptic.png', panoptic.astype(np.uint16))
        _write(out / f'{count:06d}_overlay.png', picture[..., ::-1])
        write_json(out / f'{count:06d}.json', _segments(result, segmenter.label_set))
        count += 1
    return count


def _segments(result: PanopticResult, label_set: LabelSet) -> list[dict]:
    return [
        {'class_name': label_set.classes[row['class_id']].name, **row}
        for row in result.segments.rows()
    ]


def _write(path: Path, image: np.ndarray) -> None:
    import cv2

    with atomic_write(path) as file:
        file.write(cv2.imencode('.png', image)[1].tobytes())
