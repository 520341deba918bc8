"""What several rooms' tests share."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))
if _WORKERS > 1:
    # PyTorch's threads wait for the slowest of them: beside another busy process, one is faster.
    os.environ.setdefault('OMP_NUM_THREADS', '1')

# Runs on one machine, and the workers of a run, must not hear each other.
_run = os.getppid() if _WORKERS > 1 else os.getpid()
_domains = itertools.count(_run * _WORKERS + _WORKER, _WORKERS)

SHARED = Path(__file__).resolve().parents[2] / 'shared'


@pytest.fixture
def domain() -> int:
    """A DDS domain of its own, 10 to 89."""
    return 10 + next(_domains) % (80 // _WORKERS * _WORKERS)


@pytest.fixture(scope='session')
def camvid() -> Path:
    """The CamVid images with panoptic labels; their licence keeps them out of the project."""
    return _folder(SHARED / 'data' / 'camvid')


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f'needs the data that is not shipped with the project ({path.name})')
    return path
