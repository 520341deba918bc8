"""What a benchmark says of the machine it ran on, and a process of its own for each case."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch

from pdl_ros import __version__
from pdl_ros.engines.candidates import CPU
from pdl_ros.engines.devices import pick_device
from pdl_ros.engines.onnx_engine import installed_runtime
from pdl_ros.errors import PdlError
from pdl_ros.runtime.cpu_features import has_bf16, instruction_set, processor


def machine_facts(device: str = 'cpu') -> dict[str, Any]:
    """Return what every report says of the machine that its numbers are from; device: auto, cpu,
    cuda or cuda:N.
    """
    return {
        'version': __version__,
        'processor': processor(),
        'instruction_set': instruction_set(),
        'device': device_name(device),
        'threads': torch.get_num_threads(),
        'load_average': os.getloadavg()[0],
        'python': platform.python_version(),
        'torch': torch.__version__,
    }


def describe(facts: dict[str, Any]) -> str:
    """Return the words for a report's `machine_facts`."""
    words = '{processor} ({instruction_set}), {threads} threads, load {load_average:.1f}'
    device = '' if facts['device'] == facts['processor'] else '{device}; '
    return (device + words).format(**facts)


def possible_engines(names: Sequence[str]) -> list[str]:
    """Return those of some engines ('torch bf16') that this machine has; say which it has not."""
    left_out = {name: reason for name in names if (reason := lack_of(name))}
    if left_out:
        print(
            f'Left out: {"; ".join(f"{name} ({why})" for name, why in left_out.items())}; name '
            'them with --engine to try.',
            file=sys.stderr,
        )
    return [name for name in names if name not in left_out]


def lack_of(name: str) -> str:
    """Return what this machine lacks for an engine ('torch bf16') on the CPU; empty: nothing."""
    runtime, _, precision = name.partition(' ')
    runtime = {'onnx': installed_runtime(CPU), 'file': 'onnxruntime'}.get(runtime, runtime)
    if runtime in ('openvino', 'onnxruntime'):
        missing = [package for package in ('onnx', runtime) if find_spec(package) is None]
        if missing:
            return f'no package {missing[0]}'
    if precision == 'bf16' and not has_bf16():
        return f'no bf16 instructions in {instruction_set(runtime)}'
    return ''


def device_name(device: str) -> str:
    """Return the name of a GPU, or of the processor where the device (auto, cpu, cuda or cuda:N) is
    the CPU.
    """
    found = pick_device(device)
    return processor() if found.type == 'cpu' else torch.cuda.get_device_name(found)


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


def in_own_process(module: str, *arguments: object, log: bool = False) -> Any:
    """Run a module with arguments and return the JSON that it prints; PdlError when it fails.
    log: whether what it wrote to stderr is shown then.

    What one case leaves in memory, in caches and in the allocator's settings is not the next one's.
    """
    words = [str(argument) for argument in arguments]
    command = [sys.executable, '-m', module, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        if log:
            sys.stderr.write(done.stderr)
        reason = (done.stderr.strip().splitlines() or ['it was killed, perhaps for its memory'])[-1]
        ours = f'{PdlError.__module__}.{PdlError.__qualname__}: '
        if reason.startswith(ours):
            raise PdlError(reason.removeprefix(ours))
        raise PdlError(f'The case {" ".join(words)} did not end well: {reason}')
    return json.loads(done.stdout)
