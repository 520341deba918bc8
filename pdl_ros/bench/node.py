"""The cost of being a node: from image received to last message published, minus the pipeline.

A real node process over DDS; this process is its camera and its audience.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pdl_ros.bench.machine import describe, in_own_process, machine_facts
from pdl_ros.bench.node_rig import LABELS, NAMESPACE, node_rig, street_pictures
from pdl_ros.errors import PdlError
from pdl_ros.messages.images import ImageWriter
from pdl_ros.node.output.ros_messages import ROS

EVERYTHING = (*LABELS, 'overlay', 'instances')
_WAITING = 10.0
_SLOW = 'street_efficientnet_lite0'  # slower than a camera, on a CPU
_PIPELINE = ('preprocess_ms', 'network_ms', 'fusion_ms', 'readback_ms')
_TRANSPORTS: dict[str, dict[str, str]] = {
    'Fast DDS as it comes': {
        'FASTDDS_BUILTIN_TRANSPORTS': 'DEFAULT',
        'RMW_FASTRTPS_PUBLICATION_MODE': 'SYNCHRONOUS',
    },
    'with room for images': {},
}


def bench_node(
    height: int, width: int, frames: int, weights: str, rate: float = 30.0
) -> dict[str, Any]:
    """Time `frames` drawn streets of a size through a node with shipped weights, one after the
    other; then a camera at `rate` before a network that is slower, and what it costs a node that
    nobody listens to. All of it with Fast DDS as it comes, and as our processes set it.
    """
    words = (height, width, frames, weights, rate)
    return {
        **machine_facts(),
        'size': [height, width],
        'weights': weights,
        'frames': frames,
        'rate_hz': rate,
        'transports': {
            name: in_own_process('pdl_ros.bench.node', name, *words, log=True)
            for name in _TRANSPORTS
        },
    }


def _measure(height: int, width: int, frames: int, weights: str, rate: float) -> dict[str, Any]:
    return {
        'label images': _time(LABELS, height, width, frames, weights),
        'all outputs': _time(EVERYTHING, height, width, frames, weights),
        'flooded': _flood(height, width, rate),
        'unheard_cpu_percent': {
            'lazy' if lazy else 'not lazy': _wait(height, width, rate, weights, lazy)
            for lazy in (False, True)
        },
    }


def print_results(results: dict[str, Any]) -> None:
    """Print what `bench_node` found."""
    height, width = results['size']
    console = Console()
    for name, found in results['transports'].items():
        table = Table(name, 'label images', 'all outputs', caption='milliseconds, p50 / p95')
        table.title = f'{height}×{width} rgb8'
        for stage in found['label images']:
            columns = (found[outputs][stage] for outputs in ('label images', 'all outputs'))
            table.add_row(stage, *(f'{p50:.1f} / {p95:.1f}' for p50, p95 in columns))
        console.print(table)
        flooded = found['flooded']
        delays = flooded['arrival_ms']
        after = f', {delays[0]:.0f} / {delays[1]:.0f} ms after the stamp' if delays else ''
        console.print(
            f'Camera at {results["rate_hz"]:.0f} Hz: {flooded["output_rate_hz"]:.1f} results a '
            f'second, the pipeline alone could make {flooded["pipeline_rate_hz"]:.1f}; their age '
            f'is {flooded["age_in_frames"][0]:.2f} / {flooded["age_in_frames"][1]:.2f} (p50 / p95) '
            f'frames of the pipeline. {flooded["arrived_percent"]:.0f} % of them arrived whole'
            f'{after}.'
        )
        unheard = found['unheard_cpu_percent'].items()
        console.print(
            'Nobody listening: '
            + ', '.join(f'{percent:.1f} % of a core ({name})' for name, percent in unheard)
        )
    console.print(describe(results))


def _time(
    outputs: tuple[str, ...], height: int, width: int, frames: int, weights: str
) -> dict[str, tuple[float, float]]:
    with node_rig(weights) as rig:
        rig.listen(outputs)
        rig.listener.add_node(rig.audience)
        writer, pictures = ImageWriter(ROS, 'rgb8'), itertools.cycle(street_pictures(height, width))
        for number in range(frames + 3):
            rig.camera.publish(writer.fill(next(pictures), rig.stamp()))
            rig.until(partial(rig.segmented, number + 1))
            # Not before: what the audience does with its messages is not the node's cost.
            rig.take((number + 1) * len(outputs))
        timings = rig.timings[3:]  # the first ones are not settled
    columns = {
        'queue': [t.queue_age_ms for t in timings],
        'decode': [t.decode_ms for t in timings],
        **{name.removesuffix('_ms'): [getattr(t, name) for t in timings] for name in _PIPELINE},
        'pipeline': [sum(getattr(t, name) for name in _PIPELINE) for t in timings],
        'publish': [t.publish_ms for t in timings],
    }
    columns['being a node'] = [
        t.total_ms - spent for t, spent in zip(timings, columns['pipeline'], strict=True)
    ]
    return {name: _spread(values) for name, values in columns.items()}


def _flood(height: int, width: int, rate: float) -> dict[str, Any]:
    """Say how many results come of a camera at `rate`, and how old, in frames of the pipeline."""
    with node_rig(_SLOW) as rig:
        rig.listen(LABELS)
        rig.executor.add_node(rig.audience)
        rig.play(height, width, rate, _WAITING)
        rig.spin(1.0)
        timings = rig.timings[3:]
        arrivals = rig.arrivals
    if len(timings) < 2:
        raise PdlError(f'{_WAITING:.0f} s gave {len(rig.timings)} results; take smaller frames.')
    pipeline = [sum(getattr(t, name) for name in _PIPELINE) for t in timings]
    stamps = [t.header.stamp.sec + t.header.stamp.nanosec / 1e9 for t in timings]
    engine = float(np.median(pipeline))
    whole = [max(a) for a in map(arrivals.get, stamps) if a is not None and len(a) == len(LABELS)]
    delays = [1e3 * seconds for seconds in whole]
    return {
        'output_rate_hz': (len(timings) - 1) / (stamps[-1] - stamps[0]),
        'pipeline_rate_hz': 1e3 / engine,
        'age_in_frames': _spread([t.age_ms / engine for t in timings]),
        'arrived_percent': 100 * len(whole) / len(timings),
        'arrival_ms': _spread(delays) if delays else None,
    }


def _wait(height: int, width: int, rate: float, weights: str, lazy: bool) -> float:
    """Return the percent of a core that a camera at `rate` costs a node without a subscriber."""
    with node_rig(weights, lazy=str(lazy).lower()) as rig:
        rig.until(lambda: rig.node.count_publishers(f'{NAMESPACE}/panoptic_node/timing') > 0)
        rig.spin(3.0)
        begin, before = time.monotonic(), _cpu_seconds(rig.process.pid)
        rig.play(height, width, rate, _WAITING)
        return 100 * (_cpu_seconds(rig.process.pid) - before) / (time.monotonic() - begin)


def _spread(values: list[float]) -> tuple[float, float]:
    p50, p95 = np.percentile(values, (50, 95))
    return float(p50), float(p95)


def _cpu_seconds(pid: int) -> float:
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        fields = file.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


if __name__ == '__main__':
    transport, height, width, frames, weights, rate = sys.argv[1:]
    os.environ.update(_TRANSPORTS[transport])
    found = _measure(int(height), int(width), int(frames), weights, float(rate))
    print(json.dumps(found))
