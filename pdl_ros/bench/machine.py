"""What a benchmark says of the machine it ran on, and a process of its own for each case."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from pdl_ros.engines.onnx_engine import cpu_precisions
from pdl_ros.engines.torch_engine import auto_precision
from pdl_ros.errors import PdlError


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(':')[2].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.machine())


def possible_engines(names: Sequence[str]) -> list[str]:
    """Return those of some engines ('torch bf16') that this machine has; say which it has not."""
    onnx = cpu_precisions()
    missing = {
        'torch bf16': auto_precision(torch.device('cpu')) != 'bf16',
        'onnx fp32': 'fp32' not in onnx,
        'onnx bf16': 'bf16' not in onnx,
        **dict.fromkeys(('file fp16', 'file int8'), find_spec('onnxruntime') is None),
    }
    left_out = [name for name in names if missing.get(name, False)]
    if left_out:
        print(
            f'Left out, for want of the instructions or packages: {", ".join(left_out)}; name them '
            'with --engine to try.',
            file=sys.stderr,
        )
    return [name for name in names if name not in left_out]


def device_name(device: str) -> str:
    """Return the name of a GPU, or of the processor where the device is the CPU."""
    return processor() if device == 'cpu' else torch.cuda.get_device_name(device)


def copy_bandwidth(device: str = 'cpu', megabytes: int = 256, repeats: int = 5) -> float:
    """Return GB/s read and written when all threads copy memory; the best of some copies."""
    source = torch.ones(megabytes * 2**20 // 4, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(repeats):
        began = now(device)
        target.copy_(source)
        times.append(now(device) - began)
    return 2 * source.numel() * source.element_size() / min(times) / 1e9


def now(device: str | torch.device) -> float:
    """Return the time in seconds once the device has done all its work."""
    if str(device).startswith('cuda'):
        torch.cuda.synchronize(device)
    return time.perf_counter()


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Have so many processes compute, each as much as one core can."""
    command = [sys.executable, '-c', 'while True: pass']
    others = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def in_own_process(module: str, *arguments: object) -> Any:
    """Run a module with arguments and return the JSON that it prints; PdlError when it fails.

    What one case leaves in memory, in caches and in the allocator's settings is not the next one's.
    """
    words = [str(argument) for argument in arguments]
    command = [sys.executable, '-m', module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ['it was killed, perhaps for its memory'])[-1]
        raise PdlError(f'The case {" ".join(words)} did not end well: {reason}')
    return json.loads(done.stdout)
