"""More of what becomes of recordings on a cluster of two machines."""

from __future__ import annotations

import re
from dataclasses import replace

from pdl_ros.bags.fleet import run_fleet
from pdl_ros.bags.pool import Failure
from pdl_ros.bags.run import BagReport, run_bag
from pdl_ros.bags.run_settings import BagJob

from ..unit.test_fleet import SETTINGS, alone, cluster, contents, recording

__all__ = ['alone', 'cluster', 'recording']


def test_what_is_made_already_is_kept_and_a_recording_that_cannot_be_read_costs_itself(
    cluster, recording, alone, tmp_path
):
    half = BagJob(recording, tmp_path / 'half' / 'result', SETTINGS)
    broken = tmp_path / 'broken.mcap'
    run_bag(half, parts=range(5))
    before = {file: file.stat().st_mtime_ns for file in half.target.glob('*.mcap')}
    assert len(before) == 5
    broken.write_bytes(b'no recording')
    lost = BagJob(broken, tmp_path / 'lost', SETTINGS)
    first, second = run_fleet([half, lost], cluster.address, cpus=1)
    assert isinstance(first, BagReport)
    assert (first.frames, first.made) == (20, 10)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert contents(half.target) == alone
    assert isinstance(second, Failure)
    assert 'broken.mcap' in second.reason


def test_things_are_tracked_through_a_whole_recording_by_one_machine(cluster, recording, tmp_path):
    settings = replace(SETTINGS, tracking=True)
    here, there = (BagJob(recording, tmp_path / name / 'result', settings) for name in 'ab')
    run_bag(here)
    (report,) = run_fleet([there], cluster.address, cpus=1)
    assert isinstance(report, BagReport), report
    assert contents(there.target) == contents(here.target)


def test_auto_means_the_same_on_every_machine(cluster, recording, tmp_path):
    settings = replace(SETTINGS, engine='auto', precision='auto', part_frames=10)
    job = BagJob(recording, tmp_path / 'result', settings)
    (report,) = run_fleet([job], cluster.address, cpus=1)
    assert isinstance(report, BagReport), report
    written = (job.target / 'metadata.yaml').read_text()
    assert re.search(r'"engine": "(?!auto)\w+",\s+"precision": "(?!auto)\w+"', written)
