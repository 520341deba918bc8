"""How long the fusion takes and how much memory, beside the published algorithm and beside the time
that the memory bus alone would need.
"""

from __future__ import annotations

import ctypes
import gc
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdl_ros import __version__
from pdl_ros.bench.machine import copy_bandwidth, processor
from pdl_ros.bench.published import fuse_as_published
from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.labels import LabelSet

SIZES = ((512, 1024), (1024, 2048))
INSTANCES = (20, 60, 200)
NOISE = -1  # in place of a number of instances: heads of an untrained network
MAP_BYTES = 1 + 4 + 4  # a pixel of the three label maps


def bench_fusion(repeats: int, published: bool) -> dict[str, Any]:
    """Measure all cases, each in a process of its own, one after the other."""
    methods = ('fuse', 'published') if published else ('fuse',)
    cases = [
        _in_own_process(size, instances, method, repeats)
        for size in SIZES
        for instances in (*INSTANCES, NOISE)
        for method in methods
        if method == 'fuse' or instances != NOISE
    ]
    bandwidth = copy_bandwidth()
    for case in cases:
        case['roofline_ms'] = case['bytes'] / bandwidth / 1e6
    return {
        'version': __version__,
        'processor': processor(),
        'threads': torch.get_num_threads(),
        'python': platform.python_version(),
        'torch': torch.__version__,
        'bandwidth_gb_s': bandwidth,
        'cases': cases,
    }


def measure(size: tuple[int, int], instances: int, method: str, repeats: int) -> dict[str, Any]:
    """Measure one case in this process.

    Peak memory is that of the first frame of this size, beyond what the process held before (its
    input among it) and beyond the label maps of the result. The published algorithm runs once; a
    frame of it takes seconds.
    """
    label_set, settings = LabelSet.load('cityscapes'), FusionSettings()
    run = _method(method, label_set, settings)
    run(street_heads((128, 256), 5, label_set), (128, 256))  # loads and compiles what it needs
    heads = (
        noise_heads(size, label_set) if instances == NOISE
        else street_heads(size, instances, label_set)
    )  # fmt: skip
    before = _reset_peak()
    began = time.perf_counter()
    result = run(heads, size)
    times = [time.perf_counter() - began]
    output = size[0] * size[1] * MAP_BYTES
    extra = _peak() - before - output
    if method == 'fuse':
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            run(heads, size)
            times.append(time.perf_counter() - began)
    return {
        'size': list(size),
        'instances': 'noise' if instances == NOISE else instances,
        'method': method,
        'found': result,
        'median_ms': 1e3 * float(np.median(times)),
        'best_ms': 1e3 * min(times),
        'repeats': len(times),
        'extra_mb': extra / 1e6,
        'bytes': output + sum(head.numel() * head.element_size() for head in heads[:3]),
    }


def print_results(results: dict[str, Any]) -> None:
    """Print one line a case."""
    from rich.console import Console
    from rich.table import Table

    table = Table('size', 'instances', 'method', 'median ms', 'best ms', 'extra MB', 'roofline ms')
    for case in results['cases']:
        height, width = case['size']
        numbers = (
            f'{case[key]:.1f}' for key in ('median_ms', 'best_ms', 'extra_mb', 'roofline_ms')
        )
        table.add_row(f'{height}×{width}', str(case['instances']), case['method'], *numbers)
    console = Console()
    console.print(table)
    console.print(
        f'{results["processor"]}, {results["threads"]} threads, '
        f'{results["bandwidth_gb_s"]:.1f} GB/s copied'
    )


def _method(
    name: str, label_set: LabelSet, settings: FusionSettings
) -> Callable[[Any, tuple[int, int]], int]:
    """Return a function of (heads, size) that fuses and counts the instances found."""
    if name == 'published':
        return lambda heads, size: len(fuse_as_published(heads, label_set, settings, size)[1])
    return lambda heads, size: int(fuse(heads, label_set, settings, size).segments.is_thing.sum())


def _in_own_process(
    size: tuple[int, int], instances: int, method: str, repeats: int
) -> dict[str, Any]:
    arguments = [*map(str, size), str(instances), method, str(repeats)]
    done = subprocess.run(
        [sys.executable, '-m', 'pdl_ros.bench.fusion', *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ['it was killed, perhaps for its memory'])[-1]
        raise PdlError(f'The case {" ".join(arguments)} did not end well: {reason}')
    return json.loads(done.stdout)


def _reset_peak() -> int:
    """Forget the peak where the system allows; return the memory held now, in bytes."""
    gc.collect()
    with suppress(OSError, AttributeError):  # else freed memory, still held, would be used again
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return _peak()
    return _status('VmRSS')


def _peak() -> int:
    try:
        return _status('VmHWM')
    except OSError:
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f'{field}:'))


if __name__ == '__main__':
    height, width, count = map(int, sys.argv[1:4])
    print(json.dumps(measure((height, width), count, sys.argv[4], int(sys.argv[5]))))
