"""What `bag run` adds to the pipeline: reading, decoding, messages and writing, beside the network.

Each size in a process of its own: a drawn street is recorded; then the bare pipeline over pictures
in memory and `bag run` over the recording take turns, so that both meet the same machine.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from pdl_ros.bags.bag_messages import BagMessages
from pdl_ros.bags.run import run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.bench.machine import describe, in_own_process, machine_facts
from pdl_ros.demo.scene import Scene
from pdl_ros.pipeline import Segmenter

SIZES = ((360, 480), (1024, 2048))
_PICTURES = 16  # different ones
_ROUNDS = 3
_START, _PERIOD = 10**18, 33_333_333
_WAYS: dict[str, dict[str, Any]] = {'raw labels': {}, 'PNG labels': {'labels': 'png'}}


def bench_bags(
    frames: int, weights: str, device: str, engine: str, precision: str, images: str
) -> dict[str, Any]:
    """Time recordings of so many frames of each of `SIZES`; images: `raw` or `jpeg` in them."""
    words = (frames, weights, device, engine, precision, images)
    return {
        **machine_facts(device),
        'weights': weights,
        'frames': frames,
        'images': images,
        'rounds': _ROUNDS,
        'sizes': {
            f'{width}x{height}': in_own_process('pdl_ros.bench.bags', height, width, *words)
            for height, width in SIZES
        },
    }


def print_results(results: dict[str, Any]) -> None:
    """Print frames a second side by side."""
    table = Table(title=f'{describe(results)}; {results["weights"]}, {results["images"]} images')
    for column in ('size', 'engine', 'pipeline', *_WAYS, 'memory, MB'):
        table.add_column(column, justify='right')
    for size, case in results['sizes'].items():
        cells = [f'{way["fps"]:.1f} ({way["of_pipeline"]:.2f})' for way in case['bag_run'].values()]
        memory = ' to '.join(f'{megabytes:.0f}' for megabytes in case['memory_mb'])
        table.add_row(size, case['engine'], f'{case["pipeline_fps"]:.1f}', *cells, memory)
    Console().print(table)


def _measure(
    height: int,
    width: int,
    frames: int,
    weights: str,
    device: str,
    engine: str,
    precision: str,
    images: str,
) -> dict[str, Any]:
    settings = RunSettings(weights, device, engine, precision)
    segmenter = settings.open_segmenter()
    settings = settings.resolved(segmenter)
    pictures = [Scene(1, height, width).frame(number).image for number in range(_PICTURES)]
    for _ in range(2):
        _pipeline(segmenter, pictures[:4], settings.batch, 4)
    memory: list[float] = []
    bare: list[float] = []
    runs: dict[str, list[float]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'street')
        _record(source, pictures, frames, images)
        for _ in range(_ROUNDS):
            bare.append(_pipeline(segmenter, pictures, settings.batch, frames))
            for way, changes in _WAYS.items():
                target = Path(folder, 'result')
                changed = RunSettings(**{**vars(settings), **changes})
                job = BagJob(source, target, changed)
                runs[way].append(_bag_run(job, segmenter, frames, memory))
                shutil.rmtree(target)
    fastest = statistics.median(bare)
    return {
        'engine': f'{segmenter.engine.name} {segmenter.engine.precision}',
        'batch': settings.batch,
        'pipeline_fps': fastest,
        'bag_run': {
            way: {
                'fps': statistics.median(times),
                # Of the same round: the machine may be busier in the next.
                'of_pipeline': statistics.median(
                    ours / theirs for ours, theirs in zip(times, bare, strict=True)
                ),
            }
            for way, times in runs.items()
        },
        'memory_mb': [memory[0], memory[-1]],
    }


def _pipeline(
    segmenter: Segmenter, pictures: Sequence[np.ndarray], batch: int, frames: int
) -> float:
    """Return frames a second of the network and the fusion alone, as fast as they go."""
    started, waiting = time.perf_counter(), None
    for first in range(0, frames, batch):
        numbers = range(first, min(first + batch, frames))
        begun = segmenter.start([pictures[number % len(pictures)] for number in numbers])
        if waiting is not None:
            waiting()
        waiting = begun
    if waiting is not None:
        waiting()
    return frames / (time.perf_counter() - started)


def _bag_run(job: BagJob, segmenter: Segmenter, frames: int, memory: list[float]) -> float:
    """Return frames a second of a run; add this process's memory after a fifth of it, and after."""

    def look(done: int, total: int) -> None:
        if done in (total // 5, total):
            memory.append(_resident())

    started = time.perf_counter()
    report = run_bag(job, look, segmenter=segmenter)
    assert report.frames == frames
    return frames / (time.perf_counter() - started)


def _resident() -> float:
    """Return the memory of this process, MB; 0 where the system does not say."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


def _record(folder: Path, pictures: Sequence[np.ndarray], frames: int, images: str) -> None:
    """Record pictures at 30 Hz, again and again, as cameras' drivers put them into messages."""
    make = BagMessages()
    kind = 'sensor_msgs/msg/' + ('CompressedImage' if images == 'jpeg' else 'Image')
    fields = []
    for rgb in pictures:
        if images == 'jpeg':
            _, data = cv2.imencode('.jpg', np.ascontiguousarray(rgb[..., ::-1]))
            fields.append({'format': 'jpeg', 'data': data.reshape(-1)})
        else:
            height, width, _ = rgb.shape
            sizes = {'height': height, 'width': width, 'step': 3 * width}
            fields.append({**sizes, 'encoding': 'rgb8', 'data': rgb.reshape(-1)})
    with BagWriter(folder, compression='none') as writer:
        topic = writer.add_topic('/image', kind)
        for number in range(frames):
            stamp = _START + number * _PERIOD
            header = make.header(stamp, 'camera')
            message = make.new(kind, header=header, **fields[number % len(fields)])
            writer.write(topic, stamp, serialize(message))


if __name__ == '__main__':
    numbers = [int(word) for word in sys.argv[1:4]]
    print(json.dumps(_measure(numbers[0], numbers[1], numbers[2], *sys.argv[4:])))
