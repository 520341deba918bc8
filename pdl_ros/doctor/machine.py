"""The machine: processor, cores, memory, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OPTIONAL, Finding, Section, megabytes
from pdl_ros.runtime.cpu_features import processor

_SHOWN = (
    'avx', 'avx2', 'fma', 'avx512f', 'avx_vnni', 'avx512_vnni', 'avx512_bf16',
    'amx_int8', 'amx_bf16',
    'asimd', 'asimddp', 'i8mm', 'bf16', 'sve',
)  # fmt: skip
_LIMITS = (
    'ONEDNN_MAX_CPU_ISA', 'ATEN_CPU_CAPABILITY', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS',
    'NUMBA_CPU_NAME', 'NUMBA_DISABLE_JIT', 'CUDA_VISIBLE_DEVICES', 'TRITON_INTERPRET',
)  # fmt: skip
_ROOM = 1.0e9  # bytes that the node takes with a large network on a CPU


def machine_section(torch: dict[str, Any] | ProbeError, proc: Path = Path('/proc')) -> Section:
    """Look at the machine. torch: what the probe of that name answered."""
    system = f'{_distribution()}, Linux {platform.release()}, {platform.machine()}'
    findings = [
        Finding('system', system, data={'machine': platform.machine()}),
        _processor(proc),
        _instructions(),
        _cores(torch),
        _memory(proc),
        *_limits(),
        *gpu_findings(torch, _nvidia_smi()),
    ]
    return Section('Machine', findings)


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get('PRETTY_NAME', platform.system())
    except OSError:
        return platform.system()


def _processor(proc: Path) -> Finding:
    try:
        lines = (proc / 'cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    rows = (line.partition(':') for line in lines)
    flags = next((v.split() for k, _, v in rows if k.strip() in ('flags', 'Features')), [])
    shown = [flag for flag in _SHOWN if flag in flags]
    name = processor()
    data = {'name': name, 'flags': shown}
    return Finding('processor', f'{name}: {", ".join(shown) or "instructions unknown"}', data=data)


def _instructions() -> Finding:
    try:
        name = str(ask('instructions'))
    except ProbeError as error:
        return Finding('instructions used', f'unknown: {error}', OPTIONAL)
    return Finding('instructions used', name, data={'name': name})


def _cores(torch: dict[str, Any] | ProbeError) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    quota = _cgroup_cores()
    threads = None if isinstance(torch, ProbeError) else torch['threads']
    data = {'usable': usable, 'cgroup_cores': quota, 'torch_threads': threads}
    found = f'{usable} usable, load {os.getloadavg()[0]:.1f}'
    found += '' if threads is None else f', {threads} threads of PyTorch'
    if quota is None:
        return Finding('cores', found, data=data)
    found += f', limited to {quota:g} by the container'
    if threads is None or threads <= quota:
        return Finding('cores', found, data=data)
    advice = (
        f'PyTorch starts more threads than the container has cores, and they wait for each other: '
        f'set OMP_NUM_THREADS={max(int(quota), 1)}, or give the container more with --cpus.'
    )
    return Finding('cores', found, DOUBTFUL, advice, data)


def _cgroup_cores(root: Path = Path('/sys/fs/cgroup')) -> float | None:
    """Return how many cores the control group may use, None: as many as there are."""
    try:
        quota, period = (root / 'cpu.max').read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = (
                (root / 'cpu' / f'cpu.cfs_{name}_us').read_text().strip()
                for name in ('quota', 'period')
            )
        except OSError:
            return None
    return None if quota in ('max', '-1') else int(quota) / int(period)


def _memory(proc: Path) -> Finding:
    try:
        rows = (line.split() for line in (proc / 'meminfo').read_text().splitlines())
        sizes = {row[0]: 1024 * int(row[1]) for row in rows}
        total, free = sizes['MemTotal:'], sizes['MemAvailable:']
    except (OSError, KeyError, ValueError, IndexError):
        return Finding('memory', 'unknown')
    data: dict[str, Any] = {'total_bytes': total, 'available_bytes': free}
    found = f'{megabytes(total)}, {megabytes(free)} available'
    limit = _cgroup_memory()
    if limit is not None and limit < total:
        data['cgroup_bytes'] = limit
        found += f', limited to {megabytes(limit)} by the container'
        free = min(free, limit)
    if free >= _ROOM:
        return Finding('memory', found, data=data)
    advice = (
        'The node takes about 0.5 GB with the shipped network and 1 GB with large ones: end other '
        'programs, or give the container more with --memory.'
    )
    return Finding('memory', found, DOUBTFUL, advice, data)


def _cgroup_memory(root: Path = Path('/sys/fs/cgroup')) -> int | None:
    for name in ('memory.max', 'memory/memory.limit_in_bytes'):
        try:
            return int((root / name).read_text())
        except (OSError, ValueError):
            continue
    return None


def _limits() -> list[Finding]:
    """Say which variables change what the numerics use."""
    found = {name: os.environ[name] for name in _LIMITS if name in os.environ}
    if not found:
        return []
    text = ', '.join(f'{name}={value}' for name, value in found.items())
    return [Finding('limited by', text, data=found)]


def _nvidia_smi() -> list[dict[str, str]]:
    """Return what the driver's own tool says of each GPU; nothing where there is no such tool."""
    if shutil.which('nvidia-smi') is None:
        return []
    fields = ('name', 'driver_version', 'memory.total')
    command = ['nvidia-smi', f'--query-gpu={",".join(fields)}', '--format=csv,noheader']
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(', ') for line in done.stdout.splitlines())
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def gpu_findings(torch: dict[str, Any] | ProbeError, driver: list[dict[str, str]]) -> list[Finding]:
    """Say which GPUs there are. driver: what nvidia-smi said, a row a GPU."""
    if not isinstance(torch, ProbeError) and torch['gpus']:
        version = driver[0]['driver_version'] if driver else 'unknown'
        return [_gpu(index, gpu, version, torch) for index, gpu in enumerate(torch['gpus'])]
    if not driver:
        return [Finding('GPU', 'none of NVIDIA: the node runs on the processor', OPTIONAL)]
    row = driver[0]
    found = f'{row["name"]} (driver {row["driver_version"]}), not used'
    data: dict[str, Any] = {'driver': row['driver_version'], 'name': row['name']}
    if isinstance(torch, ProbeError):
        return [Finding('GPU', found, DOUBTFUL, 'Without PyTorch the GPU is not used.', data)]
    if torch['cuda'] is None:
        advice = (
            'This PyTorch is built without CUDA, so the GPU is not used: install the CUDA build '
            '(pytorch.org says from where), or run make with TORCH=cuda.'
        )
    else:
        advice = (
            f'PyTorch, built for CUDA {torch["cuda"]}, sees no GPU: the driver is too old for it, '
            'CUDA_VISIBLE_DEVICES hides it, or the container was started without --gpus all.'
        )
    return [Finding('GPU', found, DOUBTFUL, advice, data)]


def _gpu(index: int, gpu: dict[str, Any], driver: str, torch: dict[str, Any]) -> Finding:
    name = f'GPU cuda:{index}'
    found = (
        f'{gpu["name"]}, {megabytes(gpu["memory_bytes"])}, compute capability {gpu["capability"]}, '
        f'driver {driver}, CUDA {torch["cuda"]} in PyTorch'
    )
    data = {**gpu, 'driver': driver, 'cuda': torch['cuda']}
    if not gpu['error']:
        return Finding(name, found, data=data)
    known = ', '.join(torch['architectures']) or 'none'
    advice = (
        f'The GPU does not compute ({gpu["error"]}): this PyTorch has kernels for {known}; install '
        'a build for this GPU, or start the node with device:=cpu.'
    )
    return Finding(name, f'{found}; does not compute', MISSING, advice, data)
