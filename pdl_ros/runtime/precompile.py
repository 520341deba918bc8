"""The CPU kernels of this machine are compiled in processes of their own, before they are needed.

numba compiles one kernel at a time in a process, and knows only at the first call which ones are
missing. Here all are compiled at once, on two cores, while PyTorch and the weights are loaded.
Without it every kernel is compiled where it is called, and takes as long.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pdl_ros.runtime import cache

GROUPS = ('pixels', 'others')
"""Kernels that one process compiles; each group takes about as long."""

_LOG = logging.getLogger('pdl_ros.runtime')
_PACKAGE = Path(__file__).parents[1]
_TURNS = 100_000  # of a Python loop, to see how fast this machine is
_WORK = 4500  # times as long as these takes a group, alone on its core
_builds: list[subprocess.Popen[bytes]] | None = None
_once = threading.Lock()


def start(say: Callable[[str], object] = _LOG.info) -> None:
    """Begin to compile what this machine's cache lacks, and say so: once a process, and not in one
    that compiles. May be called before anything heavy is imported.
    """
    global _builds
    with _once:
        if _builds is not None:
            return
        _builds = []
        missing = [group for group in GROUPS if not is_compiled(group)]
        # Where nothing can be kept, each process has to compile for itself.
        if missing and cache.store({'what': 'kernels'}, b'') is not None:
            at_once = min(os.cpu_count() or 1, len(missing))
            seconds = round(_seconds() * len(missing) / at_once)
            say(f'Compiling the CPU kernels, once for this machine: about {seconds} s ...')
            with contextlib.suppress(OSError):  # no process can be started
                _builds.extend(map(_compile, missing))


def wait_for(kernel: Path) -> None:
    """Wait for the file of a kernel as long as somebody compiles."""
    if not kernel.exists():
        start()
    while not kernel.exists() and any(build.poll() is None for build in _builds or ()):
        time.sleep(0.02)


def settle() -> None:
    """Wait until nothing that this process began to compile takes time from others."""
    for build in _builds or ():
        build.wait()


def wait() -> bool:
    """Compile what is missing, and wait for it; say whether everything is compiled."""
    start()
    settle()
    return all(map(is_compiled, GROUPS))


@contextlib.contextmanager
def compiling(group: str) -> Iterator[bool]:
    """Be the process that compiles a group; yield whether there is still something to do.

    Of several that begin at once one compiles, and the others wait.
    """
    global _builds
    _builds = []
    cache.cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(cache.cache_folder() / f'kernels-{group}.lock', 'w', encoding='ascii') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not is_compiled(group)
        yield missing
        if missing:
            cache.replace(_facts(group), b'')


def is_compiled(group: str) -> bool:
    """Tell whether a group was compiled, from the present sources, on this machine."""
    return cache.load(_facts(group)) is not None


@lru_cache
def kernel_sources(*files: str) -> str:
    """Return a digest of all files whose functions or constants end up in kernels of `files`."""
    digest = hashlib.sha256()
    shared = (*_PACKAGE.glob('fusion/*.py'), *_PACKAGE.glob('labels/*.py'))
    own = _PACKAGE / 'runtime' / 'compiled.py'
    for path in sorted({*shared, own, *map(Path, files)}):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _compile(group: str) -> subprocess.Popen[bytes]:
    path = [os.path.abspath(entry) for entry in sys.path if entry]
    environment = {
        **os.environ,
        'PYTHONPATH': os.pathsep.join(path),
        'PDL_ROS_CACHE': str(cache.cache_folder().absolute()),
    }
    return subprocess.Popen(
        [sys.executable, '-m', 'pdl_ros.kernels', group],
        cwd=_PACKAGE.parent,  # a folder of ours: Python looks for modules there
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _seconds() -> float:
    """Estimate how long this machine takes for a group, from how fast its Python is."""
    began = time.perf_counter()
    for _ in range(_TURNS):
        pass
    return _WORK * (time.perf_counter() - began)


def _facts(group: str) -> dict[str, str]:
    own = ('kernels.py', 'visualization.py', 'imaging/masks.py')
    which = {
        'place': str(_PACKAGE),
        'processor': _processor(),
        'versions': f'{_version("numba")} {sys.version}',
    }
    key = hashlib.sha256(repr(sorted(which.items())).encode()).hexdigest()[:16]
    sources = kernel_sources(*(str(_PACKAGE / file) for file in own))
    return {'what': f'kernels-{group}-{key}', 'sources': sources, **which}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'none'


def _processor() -> str:
    """Return what tells processors with different instructions apart, and what numba is told."""
    with contextlib.suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8', errors='replace').splitlines()
        names = ('model name', 'flags', 'Features', 'CPU part')
        told = {line for line in lines if line.startswith(names)}
        told |= {f'{n}={os.environ.get(n)}' for n in ('NUMBA_CPU_NAME', 'NUMBA_CPU_FEATURES')}
        return hashlib.sha256(repr(sorted(told)).encode()).hexdigest()
    return platform.processor() or platform.machine()
