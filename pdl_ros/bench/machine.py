"""What a benchmark says of the machine it ran on."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())


def copy_bandwidth(megabytes: int = 256, repeats: int = 5) -> float:
    """Return GB/s read and written when all threads copy memory; the best of some copies."""
    source = torch.ones(megabytes * 2**20 // 4)
    target = torch.empty_like(source)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - began)
    return 2 * source.numel() * source.element_size() / min(times) / 1e9
