"""How long the fusion takes and how much memory, beside the published algorithm and beside the time
that the memory bus alone would need.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdl_ros.bench.machine import (
    copy_bandwidth,
    describe,
    in_own_process,
    machine_facts,
    now,
)
from pdl_ros.bench.published import fuse_as_published
from pdl_ros.bench.streets import noise_heads, street_heads
from pdl_ros.engines import pick_device
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.fusion.graphed import GraphedFusion
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.runtime.memory import give_freed_memory_back

SIZES = ((512, 1024), (1024, 2048))
INSTANCES = (20, 60, 200)
MAP_BYTES = 1 + 4 + 4  # a pixel of the three label maps


def bench_fusion(repeats: int, published: bool, device: str = 'cpu') -> dict[str, Any]:
    """Measure all cases on a device: auto, cpu, cuda or cuda:N; each size and method in a process
    of its own, one after the other.
    """
    device = str(pick_device(device))
    methods = ('fuse', 'published') if published else ('fuse',)
    cases = [
        case
        for size in SIZES
        for method in methods
        for case in in_own_process('pdl_ros.bench.fusion', *size, method, repeats, device)
    ]
    bandwidth = copy_bandwidth(device)
    for case in cases:
        case['roofline_ms'] = case['bytes'] / bandwidth / 1e6
    return {
        **machine_facts(device),
        'numba': version('numba'),
        'bandwidth_gb_s': bandwidth,
        'cases': cases,
    }


def measure(
    size: tuple[int, int],
    method: str,
    repeats: int,
    device: str = 'cpu',
    instances: Sequence[int] = INSTANCES,
) -> list[dict[str, Any]]:
    """Measure all cases of one size and method in this process.

    Peak memory is that of the first frame of a case, beyond what the process held before (its input
    among it) and beyond the label maps of the result. Cases are timed in turns, so that whatever
    else the machine does meets all of them. The published algorithm runs once; a frame of it takes
    seconds, and noise has too many instances for it.
    """
    label_set = LabelSet.load('cityscapes')
    run = _method(method, label_set, FusionSettings(), device)
    # Loads and compiles what it needs.
    run(street_heads((128, 256), 5, label_set).to(device), (128, 256))
    cases = [(str(n), street_heads(size, n, label_set).to(device)) for n in instances]
    if method == 'fuse':
        cases.append(('noise', noise_heads(size, label_set).to(device)))
    results = [_first_frame(run, name, heads, size) for name, heads in cases]
    if method == 'fuse':
        times: list[list[float]] = [[] for _ in cases]
        for _ in range(repeats):
            for (_, heads), own in zip(cases, times, strict=True):
                own.append(_time(run, heads, size)[0])
        for result, own in zip(results, times, strict=True):
            result |= {'median_ms': float(np.median(own)), 'best_ms': min(own), 'frames': len(own)}
    return [{'size': list(size), 'method': method, **result} for result in results]


def _first_frame(
    run: Callable, name: str, heads: HeadOutputs, size: tuple[int, int]
) -> dict[str, Any]:
    device = heads.semantic.device
    before = _reset_peak(device)
    elapsed, found = _time(run, heads, size)
    output = size[0] * size[1] * MAP_BYTES
    return {
        'instances': name,
        'found': found,
        'median_ms': elapsed,
        'best_ms': elapsed,
        'frames': 1,
        'extra_mb': (_peak(device) - before - output) / 1e6,
        'bytes': output + sum(head.numel() * head.element_size() for head in heads[:3]),
    }


def _time(run: Callable, heads: HeadOutputs, size: tuple[int, int]) -> tuple[float, int]:
    """Return the milliseconds of one frame, and the instances found in it."""
    device = heads.semantic.device
    began = now(device)
    found = run(heads, size)
    return 1e3 * (now(device) - began), found


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
        table.add_row(f'{height}×{width}', case['instances'], case['method'], *numbers)
    console = Console()
    console.print(table)
    console.print(f'{describe(results)}, {results["bandwidth_gb_s"]:.1f} GB/s copied')


def _method(
    name: str, label_set: LabelSet, settings: FusionSettings, device: str
) -> Callable[[Any, tuple[int, int]], int]:
    """Return a function of (heads, size) that fuses and counts the instances found."""
    if name == 'published':
        return lambda heads, size: len(fuse_as_published(heads, label_set, settings, size)[1])
    # As the segmenter does.
    fusion = GraphedFusion(torch.device(device)) if device.startswith('cuda') else fuse
    return lambda heads, size: int(
        fusion(heads, label_set, settings, size).segments.compact().is_thing.sum()
    )


def _reset_peak(device: torch.device) -> int:
    """Forget the peak where the system allows; return the memory held now, in bytes."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    give_freed_memory_back()  # else what is still held would be used again
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return _peak(device)
    return _status('VmRSS')


def _peak(device: torch.device) -> int:
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        return _status('VmHWM')
    except OSError:
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f'{field}:'))


if __name__ == '__main__':
    height, width, name, count, device = sys.argv[1:]
    print(json.dumps(measure((int(height), int(width)), name, int(count), device)))
