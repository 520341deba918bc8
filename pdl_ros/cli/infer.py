"""`pdl_ros infer`: segment image files, videos and bags into files, without ROS."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.bag.outcome import print_lost
from pdl_ros.cli.options import (
    Device,
    EngineName,
    Flip,
    OutFolder,
    Precision,
    RerunFile,
    Scales,
    Weights,
    open_segmenter,
)
from pdl_ros.errors import printable, require_package
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.runtime.files import atomic_write, write_json

if TYPE_CHECKING:
    import numpy as np

    from pdl_ros.fusion import PanopticResult
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter
    from pdl_ros.rerun_recording import RerunRecording
    from pdl_ros.sources import RecordedFrame, Source

_LOG = logging.getLogger('pdl_ros.bags')


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
    rerun: RerunFile = None,
) -> None:
    """Segment files without ROS: a 16-bit panoptic PNG, an overlay and a segment list for each
    frame.

    Exit status 1 where frames of a rosbag were lost.
    """
    if rerun is not None:
        require_package('rerun', 'rerun')
    from pdl_ros.sources import open_source

    frames = open_source(source)  # before the network: it may not be there
    segmenter = open_segmenter(weights, device, scales, flip, engine, precision)
    with contextlib.ExitStack() as stack:
        watcher = None
        if rerun is not None:
            from pdl_ros.rerun_recording import RerunRecording

            watcher = stack.enter_context(RerunRecording(rerun, segmenter.label_set))
        lost: list[str] = []
        count = infer_frames(frames, segmenter, out, watcher, lost.append)
    print(f'{count} frames segmented into {out}/')
    print_lost(lost)
    if lost or not frames.is_whole:
        raise typer.Exit(1)


def infer_frames(
    frames: Source,
    segmenter: Segmenter,
    out: Path,
    rerun: RerunRecording | None = None,
    lost: Callable[[str], None] = _LOG.warning,
) -> int:
    """Segment every frame of a source; return their number.

    For each frame writes ``NNNNNN_panoptic.png`` (16 bit, class × label_divisor + instance, 65535 =
    void), ``NNNNNN_overlay.png`` and ``NNNNNN.json`` with its segments. Of a recording NNNNNN is
    the stamp in nanoseconds, and there are ``NNNNNN_semantic.png`` (8 bit, train ids), the list of
    all files, ``stamps.csv``, and their label set, ``labels.yaml``: all that `pdl_ros bag score`
    needs. rerun: is given every frame too, those without a stamp as from 1970 on. lost: is told of
    each frame of a recording that cannot be had, in a sentence.
    """
    from rich.progress import track

    if frames.recorded is not None:
        return _infer_recording(frames, frames.recorded(lost), segmenter, out, rerun)
    count = 0
    for rgb in track(frames, 'segmenting', total=frames.length):
        stamp = round(count * 1e9 / frames.fps)
        result = _segment(segmenter, rgb, stamp, rerun)
        _write_frame(result, rgb, segmenter.label_set, out, f'{count:06d}')
        count += 1
    return count


def _segment(
    segmenter: Segmenter, rgb: np.ndarray, stamp: int, rerun: RerunRecording | None
) -> PanopticResult:
    """Segment a frame, and show it. stamp: nanoseconds."""
    result, stages = segmenter.timed(rgb)
    if rerun is not None:
        from pdl_ros.rerun_recording import boxes_of_segments

        timing = {name.removesuffix('_ms'): ms for name, ms in stages._asdict().items()}
        boxes = boxes_of_segments(result.segments.rows())
        rerun.log(stamp, rgb, result.panoptic.numpy(), boxes, timing)
    return result


def _infer_recording(
    frames: Source,
    recorded: Iterator[RecordedFrame],
    segmenter: Segmenter,
    out: Path,
    rerun: RerunRecording | None,
) -> int:
    from rich.progress import track

    from pdl_ros.datasets.label_folder import LABELS
    from pdl_ros.imaging.files import write_image
    from pdl_ros.sources.stamps import StampRow, write_stamps

    rows: list[StampRow] = []
    seen = Counter[int]()
    with atomic_write(out / LABELS) as file:
        file.write(segmenter.label_set.to_yaml().encode())
    try:
        for frame in track(recorded, 'segmenting', total=frames.length):
            # Cameras repeat stamps, or have none.
            again = f'-{seen[frame.stamp]}' if seen[frame.stamp] else ''
            seen[frame.stamp] += 1
            name = f'{frame.stamp}{again}'
            result = _segment(segmenter, frame.rgb, frame.stamp, rerun)
            file_name = _write_frame(result, frame.rgb, segmenter.label_set, out, name)
            write_image(out / f'{name}_semantic.png', result.semantic.numpy())
            frame_id = printable(frame.frame_id)  # a line of the table is a frame
            rows.append(StampRow(frame.stamp, frame_id, frame.log_time, file_name))
    finally:  # a damaged recording costs what comes after the damage
        write_stamps(out, rows)
    return len(rows)


def _write_frame(
    result: PanopticResult, rgb: np.ndarray, label_set: LabelSet, out: Path, name: str
) -> str:
    """Write the files of a frame; return the name of its label image."""
    import numpy as np

    from pdl_ros.imaging.files import write_image
    from pdl_ros.visualization import overlay

    panoptic = result.panoptic.numpy()
    picture = overlay(rgb, panoptic, label_set)
    file = f'{name}_panoptic.png'
    write_image(out / file, panoptic.astype(np.uint16))
    write_image(out / f'{name}_overlay.png', picture)
    write_json(out / f'{name}.json', _segments(result, label_set))
    return file


def _segments(result: PanopticResult, label_set: LabelSet) -> list[dict]:
    return [
        {'class_name': label_set.classes[row['class_id']].name, **row}
        for row in result.segments.rows()
    ]
