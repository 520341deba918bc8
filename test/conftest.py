"""What several rooms' tests share."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import itertools
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from .skips import SHARED, pytest_sessionfinish, pytest_terminal_summary

__all__ = ['SHARED', 'pytest_sessionfinish', 'pytest_terminal_summary']

_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
if _WORKERS > 1:
    # PyTorch's threads wait for the slowest of them: beside another busy process, one is faster.
    os.environ.setdefault('OMP_NUM_THREADS', '1')

# launch and launch_testing are not among the ROS wheels. A folder of launch files on the path is a
# package of that name for Python, without an origin.
LAUNCH = SHARED / 'reference' / 'ros2_launch'
_launch = find_spec('launch')
if (_launch is None or _launch.origin is None) and LAUNCH.is_dir():
    sys.path.append(str(LAUNCH))
with contextlib.suppress(ImportError):
    importlib.import_module('launch.logging')
    # It keeps what later loggers say from the root, and so from caplog.
    logging.setLoggerClass(logging.Logger)

_DOMAINS = 80
_candidates = itertools.count(os.getpid() * 7)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files of the longest tests, so that no process is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave engine auto the choice among PyTorch's precisions: to time all engines for each of the
    tests' networks would take minutes. test_engine_choice.py and test_candidates.py take this back.
    """
    if candidates := sys.modules.get('pdl_ros.engines.candidates'):
        monkeypatch.setattr(candidates, 'RUNTIMES', ('torch',))


@pytest.fixture
def domain() -> Iterator[int]:
    """A DDS domain that no other test on this machine uses meanwhile."""
    with own_domain() as number:
        yield number


@pytest.fixture(scope='module')
def module_domain() -> Iterator[int]:
    """A DDS domain of all the tests of a file."""
    with own_domain() as number:
        yield number


@contextlib.contextmanager
def own_domain() -> Iterator[int]:
    """Hold a DDS domain, 10 to 89, by a lock that ends with the process; also for longer fixtures.

    The numbers are tried from a place of the process's own, so that one is not used again at once:
    what a test left behind in it may still be heard for a moment.
    """
    folder = Path(tempfile.gettempdir(), 'pdl_ros_test_domains')
    folder.mkdir(exist_ok=True)
    for _ in range(2 * _DOMAINS):
        number = 10 + next(_candidates) % _DOMAINS
        with (folder / str(number)).open('a') as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield number
            return
    raise RuntimeError(f'all {_DOMAINS} DDS domains are in use; see {folder}')


@pytest.fixture(scope='session')
def camvid() -> Path:
    """The CamVid images with panoptic labels; their licence keeps them out of the project."""
    return _folder(SHARED / 'data' / 'camvid')


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f'needs the data that is not shipped with the project ({path.name})')
    return path
