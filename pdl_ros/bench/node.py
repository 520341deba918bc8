"""The cost of being a node: from image received to last message published, minus the pipeline.

A real node process over DDS; this process is its camera and its audience.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.images import ImageWriter
from pdl_ros.node.transport import make_room_for_images

LABELS = ('semantic', 'instance', 'panoptic')
EVERYTHING = (*LABELS, 'overlay', 'instances')
_NAMESPACE = '/pdl_ros_bench'
_PATIENCE = 300.0
_WAITING = 10.0
_PIPELINE = ('preprocess_ms', 'network_ms', 'fusion_ms', 'readback_ms')


def bench_node(
    height: int, width: int, frames: int, weights: str, rate: float = 30.0
) -> dict[str, Any]:
    """Time `frames` frames of a size through a node with shipped weights, one after the other; then
    a camera at `rate`, faster than the network, and what that costs a node that nobody listens to.
    """
    rows = [
        {'outputs': name, **_time(outputs, height, width, frames, weights)}
        for name, outputs in (('label images', LABELS), ('all', EVERYTHING))
    ]
    return {
        'size': [height, width],
        'weights': weights,
        'frames': frames,
        'cases': rows,
        'rate_hz': rate,
        'flooded': _flood(height, width, rate, weights),
        'unheard_cpu_percent': {
            'lazy' if lazy else 'not lazy': _wait(height, width, rate, weights, lazy)
            for lazy in (False, True)
        },
    }


def print_results(results: dict[str, Any]) -> None:
    """Print a table of `bench_node`."""
    height, width = results['size']
    columns = [name for name in results['cases'][0] if name != 'outputs']
    table = Table('outputs', *columns, title=f'{height}×{width} rgb8, milliseconds, p50 / p95')
    for row in results['cases']:
        table.add_row(row['outputs'], *(f'{row[c][0]:.1f} / {row[c][1]:.1f}' for c in columns))
    console = Console()
    console.print(table)
    flooded, unheard = results['flooded'], results['unheard_cpu_percent']
    console.print(
        f'Camera at {results["rate_hz"]:.0f} Hz: {flooded["output_rate_hz"]:.1f} results a second, '
        f'the pipeline alone could make {flooded["pipeline_rate_hz"]:.1f}; their age is '
        f'{flooded["age_in_frames"][0]:.2f} / {flooded["age_in_frames"][1]:.2f} (p50 / p95) frames '
        'of the pipeline.'
    )
    console.print(
        'Nobody listening: '
        + ', '.join(f'{percent:.1f} % of a core ({name})' for name, percent in unheard.items())
    )


class _Rig:
    """A node process, its camera, and subscriptions to some of its outputs."""

    def __init__(self, process: subprocess.Popen[bytes], node: Node, context: Context) -> None:
        self.process, self.node = process, node
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(node)
        self.camera = node.create_publisher(Image, 'image', QoSProfile(depth=5))
        self.timings: list[FrameTiming] = []
        self.arrived = 0

    def listen(self, outputs: tuple[str, ...]) -> None:
        for name in outputs:
            kind, topic = (
                (PanopticInstanceArray, name) if name == 'instances' else (Image, f'{name}/image')
            )
            # Serialized: what the audience does with its messages is not the node's cost.
            self.node.create_subscription(
                kind, f'panoptic_node/{topic}', self._count, QoSProfile(depth=5), raw=True
            )
        self.node.create_subscription(
            FrameTiming, 'panoptic_node/timing', self.timings.append, QoSProfile(depth=5)
        )
        self.until(lambda: self.camera.get_subscription_count() > 0)
        self.until(lambda: self.node.count_publishers(f'{_NAMESPACE}/panoptic_node/timing') > 0)
        self.spin(1.0)

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            self.executor.spin_once(timeout_sec=0.01)
            if self.process.poll() is not None or time.monotonic() > end:
                raise PdlError('The node gave no answer; its log is above.')

    def has(self, frames: int, outputs: int) -> bool:
        return len(self.timings) >= frames and self.arrived >= frames * outputs

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def play(self, height: int, width: int, rate: float, seconds: float) -> None:
        writer, picture = ImageWriter('rgb8'), _picture(height, width, 0)
        due = time.monotonic()
        end = due + seconds
        while due < end:
            self.camera.publish(writer.fill(picture, self.stamp()))
            due += 1 / rate
            self.spin(max(due - time.monotonic(), 0))

    def stamp(self) -> Header:
        return Header(stamp=self.node.get_clock().now().to_msg())

    def _count(self, _: bytes) -> None:
        self.arrived += 1


@contextlib.contextmanager
def _rig(weights: str, **others: str) -> Iterator[_Rig]:
    parameters = {'variant': weights, 'image_qos': 'reliable', 'device': 'auto', **others}
    arguments = [a for name, value in parameters.items() for a in ('-p', f'{name}:={value}')]
    command = [sys.executable, '-m', 'pdl_ros.node.main', '--ros-args', *arguments]
    make_room_for_images()
    process = subprocess.Popen([*command, '-r', f'__ns:={_NAMESPACE}'])
    context = Context()
    rclpy.init(context=context)
    node = Node('bench', namespace=_NAMESPACE, context=context)
    try:
        yield _Rig(process, node, context)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        node.destroy_node()
        rclpy.try_shutdown(context=context)


def _time(
    outputs: tuple[str, ...], height: int, width: int, frames: int, weights: str
) -> dict[str, tuple[float, float]]:
    with _rig(weights) as rig:
        rig.listen(outputs)
        writer = ImageWriter('rgb8')
        for number in range(frames + 3):
            rig.camera.publish(writer.fill(_picture(height, width, number), rig.stamp()))
            rig.until(partial(rig.has, number + 1, len(outputs)))
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


def _flood(height: int, width: int, rate: float, weights: str) -> dict[str, Any]:
    """Say how many results come of a camera at `rate`, and how old, in frames of the pipeline."""
    with _rig(weights) as rig:
        rig.listen(LABELS)
        rig.play(height, width, rate, _WAITING)
        timings = rig.timings[3:]
    if len(timings) < 2:
        raise PdlError(f'{_WAITING:.0f} s gave {len(rig.timings)} results; take smaller frames.')
    pipeline = [sum(getattr(t, name) for name in _PIPELINE) for t in timings]
    stamps = [t.header.stamp.sec + t.header.stamp.nanosec / 1e9 for t in timings]
    engine = float(np.median(pipeline))
    return {
        'output_rate_hz': (len(timings) - 1) / (stamps[-1] - stamps[0]),
        'pipeline_rate_hz': 1e3 / engine,
        'age_in_frames': _spread([t.age_ms / engine for t in timings]),
    }


def _wait(height: int, width: int, rate: float, weights: str, lazy: bool) -> float:
    """Return the percent of a core that a camera at `rate` costs a node nobody listens to."""
    with _rig(weights, lazy=str(lazy).lower()) as rig:
        rig.until(lambda: rig.node.count_publishers(f'{_NAMESPACE}/panoptic_node/timing') > 0)
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


def _picture(height: int, width: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 32), -(-width // 32), 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(32, 0).repeat(32, 1)[:height, :width])
