"""What became of the compiled kernels' cache costs time, never a frame."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pdl_ros.runtime import cache, numba_compat, precompile

KERNELS = """
from pdl_ros.runtime.compiled import compiled, compiled_inner

@compiled_inner
def twice(x):
    return 2 * x

@compiled
def twice_plus_one(x):
    return twice(x) + 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A cache folder that is not there yet."""
    (tmp_path / 'kernels.py').write_text(KERNELS)
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def run(folder, tmp_path, monkeypatch, caplog):
    """Import the kernels anew, as another process would, and call them; return whether they came
    from the cache, and what was logged.
    """

    def run() -> tuple[bool, str]:
        caplog.clear()
        monkeypatch.setattr(cache, '_told', set())
        precompile.kernel_sources.cache_clear()
        spec = importlib.util.spec_from_file_location('kernels', tmp_path / 'kernels.py')
        kernels = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(kernels)
        assert kernels.twice_plus_one(20) == 41
        return bool(kernels.twice_plus_one.stats.cache_hits), caplog.text

    return run


def test_a_later_process_compiles_nothing(run, folder):
    assert run() == (False, '')
    assert run() == (True, '')
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    'damage',
    [
        lambda whole: b'',
        lambda whole: whole[:100],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-4096] + bytes(4096),  # blocks that never reached the disk
        lambda whole: np.random.default_rng(0).bytes(len(whole)),
    ],
    ids=['empty', 'head only', 'half', 'zeros at the end', 'garbage'],
)
def test_a_cache_cut_by_a_power_failure_costs_time_only(run, folder, damage):
    run()
    for file in folder.iterdir():
        file.write_bytes(damage(file.read_bytes()))
    hit, said = run()
    assert not hit
    assert 'made anew' in said
    assert run() == (True, '')


def test_whole_files_that_numba_cannot_use_cost_time_only(run, folder):
    run()
    for file in folder.iterdir():
        facts = json.loads(file.read_bytes().split(b'\n')[1])
        assert cache.store(facts, b'of a numba that wrote it otherwise') == file
    hit, said = run()
    assert not hit
    assert 'is compiled anew' in said


def test_a_full_or_read_only_disk_costs_time_only_and_is_said_once(run, folder, caplog):
    folder.touch()  # not even root can write here
    hit, said = run()
    assert not hit
    assert 'cannot be written' in said
    assert 'PDL_ROS_CACHE' in said
    assert len(caplog.records) == 1


def test_without_a_home_or_a_folder_for_temporary_files_kernels_still_run(run, monkeypatch):
    monkeypatch.delenv('PDL_ROS_CACHE')
    for name in ('HOME', 'TMPDIR', 'XDG_CACHE_HOME'):
        monkeypatch.setenv(name, '/dev/null/nowhere')
    monkeypatch.setattr(tempfile, 'tempdir', None)
    assert not run()[0]


def test_machine_code_that_others_could_have_written_is_not_run(run, folder):
    run()
    for file in folder.iterdir():
        file.chmod(0o666)
    hit, said = run()
    assert not hit
    assert 'may be written by other users' in said


def test_an_edit_makes_machine_code_stale_and_replaces_it(run, folder, tmp_path):
    run()
    (tmp_path / 'kernels.py').write_text(KERNELS.replace('2 * x', 'x + x + 0'))
    assert not run()[0]
    assert run()[0]
    assert len(list(folder.iterdir())) == 2


def test_with_a_numba_whose_private_parts_are_elsewhere_each_process_compiles(
    run, folder, monkeypatch
):
    monkeypatch.setattr(numba_compat, '_dumps', None)
    assert run() == run() == (False, '')
    assert not folder.exists()
