"""`make test` itself: a hanging test fails alone, and no test is skipped in silence."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import time
import pytest

def test_that_hangs():
    time.sleep(60)

def test_after_it():
    pass

@pytest.mark.skipif(True, reason='needs a GPU')
def test_of_a_gpu():
    pass
"""
HIDDEN = (
    "import pytest\npytest.importorskip('a_package_forgotten', reason='needs what is locked')\n"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with our settings and hooks, and tests of its own."""
    (tmp_path / 'test').mkdir()
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    for name in ('__init__.py', 'conftest.py', 'skips.py'):
        shutil.copy(ROOT / 'test' / name, tmp_path / 'test')
    (tmp_path / 'test' / 'test_all.py').write_text(TESTS)
    return tmp_path


def run(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider', *options, 'test']
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize('workers', ['0', '2'])
def test_a_test_that_hangs_fails_alone_and_the_others_run(project: Path, workers: str) -> None:
    done = run(project, '-o', 'timeout=2', '-n', workers)
    assert done.returncode == 1
    assert '1 failed, 1 passed, 1 skipped' in done.stdout, done.stdout
    assert 'FAILED test/test_all.py::test_that_hangs - Failed: Timeout' in done.stdout
    assert '  1 needs a GPU: test/test_all.py\n' in done.stdout


def test_a_file_that_must_not_be_skipped_fails_the_run_and_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / 'test' / 'test_hidden.py').write_text(HIDDEN)
    monkeypatch.setenv('PDL_ROS_MUST_RUN', '1')
    done = run(project, '-n', '2', '--deselect', 'test/test_all.py::test_that_hangs')
    assert done.returncode == 1, done.stdout
    assert '  1 needs a GPU: test/test_all.py\n' in done.stdout
    assert '  1 needs what is locked: test/test_hidden.py  <- MUST RUN HERE' in done.stdout
