"""Several recordings at a time: one that fails, or whose process dies, does not stop the others."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pdl_ros.bags.pool import run_pool
from pdl_ros.bags.run import BagReport
from pdl_ros.bags.run_settings import BagJob, RunSettings

from .drawn_bags import read_all, record_streets

SETTINGS = RunSettings(weights='scene_tiny', device='cpu', engine='torch', precision='fp32')
THINGS = '/panoptic_node/instances'


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp('recorded')
    return [record_streets(folder / name, frames=range(first, first + 4))
            for name, first in (('a', 0), ('b', 4))]  # fmt: skip


@pytest.mark.slow
def test_a_process_that_dies_costs_its_recording_a_second_try(bags, tmp_path, caplog):
    settings = replace(SETTINGS, part_frames=1)
    jobs = [BagJob(bag, tmp_path / bag.name, settings) for bag in bags]
    killed: list[int] = []

    def kill_once(done: int, total: int) -> None:
        if not killed and done >= 2:
            victim = multiprocessing.active_children()[0]
            killed.append(victim.pid or 0)
            victim.kill()

    outcomes = run_pool(jobs, 1, kill_once)
    assert [type(outcome) for outcome in outcomes] == [BagReport, BagReport]
    assert killed and caplog.text.count('It is tried once more') == 1
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert (outcome.frames, outcome.exit_status) == (4, 0)
        assert len(read_all(job.target)[THINGS]) == 4
    assert min(outcome.made for outcome in outcomes) < 4  # it went on where the other had died


def test_ctrl_c_leaves_no_process_behind_and_tries_nothing_again(bags, tmp_path, caplog):
    def press(done: int, total: int) -> None:
        signal.raise_signal(signal.SIGINT)  # is heard by the main thread, which waits

    jobs = [BagJob(bag, tmp_path / bag.name, replace(SETTINGS, part_frames=1)) for bag in bags]
    with pytest.raises(KeyboardInterrupt):
        run_pool(jobs, 1, press)
    assert not multiprocessing.active_children()
    assert 'once more' not in caplog.text and not (tmp_path / 'b').exists()


@pytest.mark.slow
def test_recordings_side_by_side_become_one_each_and_one_that_is_broken_is_said(bags, tmp_path):
    (tmp_path / 'c.mcap').write_bytes(b'')
    out = tmp_path / 'out'
    words = [*map(str, bags), str(tmp_path / 'c.mcap'), '-o', str(out), '--jobs', '2']
    options = ['--weights', 'scene_tiny', '--engine', 'torch', '--precision', 'fp32']
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', *words, *options]
    done = subprocess.run(call, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f'{tmp_path}/c.mcap failed: ' in done.stdout and 'it is empty' in done.stdout
    assert sorted(path.name for path in out.iterdir()) == ['a', 'b']
    for name in 'ab':
        assert len(read_all(out / name)[THINGS]) == 4


def test_jobs_that_cannot_be_done_are_not_tried_twice(tmp_path, caplog):
    for name in ('a.mcap', 'b.mcap'):
        (tmp_path / name).write_bytes(b'')
    jobs = [BagJob(tmp_path / name, tmp_path / 'out', SETTINGS) for name in ('a.mcap', 'b.mcap')]
    outcomes = run_pool(jobs, 2)
    assert ['it is empty' in outcome.reason for outcome in outcomes] == [True, True]
    assert 'once more' not in caplog.text


def test_recordings_of_one_name_would_be_written_over_each_other(tmp_path):
    for folder in ('x', 'y'):
        record_streets(tmp_path / folder / 'drive', frames=range(1))
    words = [str(tmp_path / folder / 'drive') for folder in ('x', 'y')]
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', *words, '-o', str(tmp_path / 'out')]
    done = subprocess.run(call, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert 'Several recordings are called drive' in done.stderr
