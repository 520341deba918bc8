"""A run that was stopped, or met a full disk, goes on to the result of one that was not."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from pdl_ros.bags.run import count_parts, finish_bag, run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.bags.writer import McapFileWriter
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError
from pdl_ros.pipeline import Segmenter
from pdl_ros.tracking import Tracker

from .bag_runs import NODE, OPTIONS, SETTINGS, bag, command, run, segmenter, two
from .drawn_bags import DELAY, read_all, street

__all__ = ['bag', 'segmenter', 'two']


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(two, tmp_path):
    """With ids that last: they depend on all that came before."""
    words = ('--no-timing', '--tracking', '--part-frames', '3')
    assert command(two, '-o', tmp_path / 'whole' / 'out', *words).returncode == 0
    out = tmp_path / 'killed' / 'out'
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', str(two), '-o', str(out)]
    process = subprocess.Popen([*call, *words, *OPTIONS])
    end = time.monotonic() + 60
    while not list(out.glob('out_1.mcap')):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / 'metadata.yaml').exists(), 'it was through before it was killed'
    before = {file.name: file.stat().st_mtime_ns for file in out.glob('*.mcap')}
    done = command(two, '-o', out, *words)
    assert (done.returncode, 'were there already:' in done.stdout) == (0, True), done.stdout
    for name, changed in before.items():
        assert (out / name).stat().st_mtime_ns == changed
    files = sorted(path.name for path in (tmp_path / 'whole' / 'out').iterdir())
    assert files == sorted(path.name for path in out.iterdir())
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / 'whole' / 'out' / name).read_bytes(), name


def test_parts_made_by_several_workers_are_those_of_one(two, tmp_path, segmenter):
    changes = {'part_frames': 3, 'timing': False, 'engine': 'torch'}
    run(two, tmp_path / 'one' / 'out', segmenter, **changes)
    job = BagJob(two, tmp_path / 'many' / 'out', replace(SETTINGS, **changes))
    parts = range(count_parts(job))
    assert len(parts) == 6
    run_bag(job, parts=parts[3:], segmenter=segmenter)
    with pytest.raises(PdlError, match='lacks 3 of 6 parts'):
        finish_bag(job)
    run_bag(job, parts=parts[:3], segmenter=segmenter)
    assert finish_bag(job).frames == 16
    for file in (tmp_path / 'one' / 'out').iterdir():
        assert (tmp_path / 'many' / 'out' / file.name).read_bytes() == file.read_bytes()


def test_tracking_cannot_be_divided_among_workers(two, tmp_path, segmenter):
    job = BagJob(two, tmp_path / 'out', replace(SETTINGS, tracking=True))
    with pytest.raises(PdlError, match='ids follow from what came before'):
        run_bag(job, parts=[0], segmenter=segmenter)


def test_ids_last_over_the_files_of_a_result(bag, tmp_path, segmenter):
    run(bag, tmp_path / 'out', segmenter, tracking=True, part_frames=3)
    tracker, found = Tracker(), read_all(tmp_path / 'out')
    for number, (at, things) in enumerate(found[f'{NODE}/instances']):
        tracks = tracker.update(segmenter(street(number)), at - DELAY)
        assert sorted(t.track_id for t in things.instances) == sorted(tracks.track_id.tolist())
    assert max(t.track_age for _, things in found[f'{NODE}/instances'] for t in things.instances)


def test_a_result_that_is_there_is_not_made_twice(bag, tmp_path, segmenter):
    run(bag, tmp_path / 'out', segmenter)
    again = run(bag, tmp_path / 'out', segmenter)
    assert (again.frames, again.made, again.exit_status) == (8, 0, 0)


def test_what_else_is_in_the_folder_of_the_result_is_left_alone(bag, tmp_path, segmenter):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'letter.txt').write_text('Dear')
    with pytest.raises(PdlError, match='is there already, and is not the result of this recording'):
        run(bag, tmp_path / 'out', segmenter)
    run(bag, tmp_path / 'done', segmenter)
    with pytest.raises(PdlError, match='with these settings; give another folder'):
        run(bag, tmp_path / 'done', segmenter, every=2)
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['letter.txt']


def test_a_disk_that_is_full_keeps_what_is_whole_and_the_run_goes_on(
    bag, tmp_path, segmenter, monkeypatch
):
    real, room = McapFileWriter.write, [30]

    def write(self, *words):
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *words)

    monkeypatch.setattr(McapFileWriter, 'write', write)
    report = run(bag, tmp_path / 'out', segmenter, part_frames=3)
    assert (report.frames, report.total, report.exit_status) == (3, 8, 1)
    assert 'No space left on device; make room and give the same command' in report.failure
    assert len(read_all(tmp_path / 'out')[f'{NODE}/instances']) == 3
    assert not list((tmp_path / 'out').glob('*.part'))
    monkeypatch.undo()
    report = run(bag, tmp_path / 'out', segmenter, part_frames=3)
    assert (report.frames, report.made, report.exit_status) == (8, 5, 0)


def test_a_run_goes_on_with_the_engine_that_auto_came_to(bag, tmp_path, segmenter, monkeypatch):
    """Elsewhere, or another time, another might be the fastest."""
    chosen = replace(SETTINGS, engine='auto', precision='auto', batch=2, part_frames=3)
    job = BagJob(bag, tmp_path / 'out', chosen)
    run_bag(job, parts=[0], segmenter=segmenter)
    opened: list[RunSettings] = []

    def note(self: RunSettings) -> Segmenter:
        opened.append(self)
        return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))

    monkeypatch.setattr(RunSettings, 'open_segmenter', note)
    assert run_bag(job).frames == 8
    assert [(s.engine, s.precision, s.batch) for s in opened] == [('torch', 'fp32', 2)]
    with pytest.raises(PdlError, match='not the result of this recording with these settings'):
        run_bag(BagJob(bag, tmp_path / 'out', replace(chosen, engine='onnx')))


@pytest.mark.slow
def test_a_disk_that_is_small_ends_a_run_in_words_and_more_room_lets_it_go_on(bag, tmp_path):
    """Compressed labels of a file take some 30 kB, and a file system of pages 4 kB at least."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('needs root')
    try:
        words = (bag, '-o', disk / 'out', '--part-frames', '2', '--copy-inputs')
        done = command(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        assert 'cannot be written: No space left on device; make room' in done.stdout
        kept = len(read_all(disk / 'out')[f'{NODE}/instances'])
        assert 2 <= kept < 8 and f'{kept} of 8 images' in done.stdout
        subprocess.run(['mount', '-o', 'remount,size=10m', str(disk)], check=True)
        done = command(*words)
        assert (done.returncode, f'already: {kept}' in done.stdout) == (0, True), done.stdout
        assert len(read_all(disk / 'out')[f'{NODE}/instances']) == 8
    finally:
        subprocess.run(['umount', str(disk)], check=True)


def test_two_processes_do_not_write_one_result(bag, tmp_path, segmenter):
    job = BagJob(bag, tmp_path / 'out', replace(SETTINGS, part_frames=2))

    def second(done: int, total: int) -> None:
        with pytest.raises(PdlError, match='is being written by another process'):
            run_bag(job, segmenter=segmenter)
        seen.append(done)

    seen: list[int] = []
    assert run_bag(job, second, segmenter=segmenter).frames == 8
    assert seen == list(range(1, 9))
