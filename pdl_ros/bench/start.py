"""How long a node takes from the start of its process to its first result over DDS."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from pdl_ros.bench.machine import describe, machine_facts
from pdl_ros.bench.node_rig import LABELS, node_rig, street_pictures
from pdl_ros.errors import PdlError
from pdl_ros.messages.images import ImageWriter
from pdl_ros.node.output.ros_messages import ROS

_CAMERA_HZ = 10


def bench_start(height: int, width: int, starts: int, weights: str) -> dict[str, Any]:
    """Start a node with shipped weights so many times with an empty cache, with the kernels
    compiled and no more, and once more after that; each time a camera of that size is there
    already.

    'active_s' is when the camera found it, 'result_s' when its first result came, in seconds. The
    user's own cache is not touched.
    """
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for _ in range(starts):
        with _empty_cache():
            found['nothing cached'].append(_start(height, width, weights))
        with _empty_cache():
            _compile()
            found['kernels compiled'].append(_start(height, width, weights))
            found['all cached'].append(_start(height, width, weights))
    return {**machine_facts(), 'size': [height, width], 'weights': weights, 'starts': dict(found)}


def print_results(results: dict[str, Any]) -> None:
    """Print what `bench_start` found."""
    table = Table('start', 'active', 'first result', caption='seconds, median (slowest)')
    height, width = results['size']
    table.title = f'{results["weights"]}, {height}×{width}'
    for name, starts in results['starts'].items():
        columns = ([s[key] for s in starts] for key in ('active_s', 'result_s'))
        table.add_row(name, *(f'{median(c):.1f} ({max(c):.1f})' for c in columns))
    console = Console()
    console.print(table)
    console.print(describe(results))


@contextlib.contextmanager
def _empty_cache() -> Iterator[None]:
    """Let the processes that are started meanwhile find nothing in the cache."""
    own = os.environ.get('PDL_ROS_CACHE')
    with tempfile.TemporaryDirectory() as folder:
        os.environ['PDL_ROS_CACHE'] = folder
        try:
            yield
        finally:
            del os.environ['PDL_ROS_CACHE']
            if own is not None:
                os.environ['PDL_ROS_CACHE'] = own


def _start(height: int, width: int, weights: str) -> dict[str, float]:
    writer, picture = ImageWriter(ROS, 'rgb8'), street_pictures(height, width)[0]
    begin = time.monotonic()
    with node_rig(weights) as rig:
        rig.subscribe(LABELS)
        rig.until(lambda: rig.camera.get_subscription_count() > 0)
        active = time.monotonic() - begin
        rig.node.create_timer(
            1 / _CAMERA_HZ, lambda: rig.camera.publish(writer.fill(picture, rig.stamp()))
        )
        rig.until(lambda: rig.segmented(1))
        return {'active_s': active, 'result_s': time.monotonic() - begin}


def _compile() -> None:
    command = [sys.executable, '-m', 'pdl_ros.cli', 'compile', '--kernels-only']
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise PdlError('The CPU kernels could not be compiled; the reason is above.')
