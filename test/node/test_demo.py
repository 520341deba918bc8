"""`pdl_ros demo` as a user runs it: three processes, and pictures at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from rerun.dataframe import load_recording


def demo_process(*arguments: object, domain: int) -> subprocess.Popen[str]:
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, '-m', 'pdl_ros.cli', 'demo', *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_demo(*arguments: object, domain: int) -> subprocess.CompletedProcess[str]:
    process = demo_process(*arguments, domain=domain)
    out, errors = process.communicate(timeout=280)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@pytest.fixture(scope='module')
def frames_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('frames')
    rng = np.random.default_rng(5)
    for i in range(8):
        picture = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        cv2.imwrite(str(folder / f'{i:03d}.png'), picture)
    # The node takes no more than 2^24 pixels.
    cv2.imwrite(str(folder / '003_large.png'), np.zeros((4097, 4097, 3), np.uint8))
    return folder


def test_demo_shows_every_frame_that_can_be_segmented_to_a_camera_faster_than_any_node(
    frames_folder: Path, weights: Path, tmp_path: Path, domain: int
) -> None:
    done = run_demo('--source', frames_folder, '--weights', weights, '--out', tmp_path,
                    '--rate', 1000, '--device', 'cpu',
                    '--rerun', tmp_path / 'demo.rrd', domain=domain)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Traceback' not in done.stderr
    summary = json.loads((tmp_path / 'summary.json').read_text())
    view = load_recording(tmp_path / 'demo.rrd').view(index='stamp', contents='/camera/image')
    assert view.select().read_all().num_rows == 8, 'Rerun shows every frame that was segmented'
    assert (summary['frames_in'], summary['frames_segmented']) == (9, 8)
    assert summary['frames_dropped'] == 1
    said = ' '.join(done.stdout.split())
    assert 'Frame 5 has no result after' in said, 'the frame that the node refuses is told of'
    assert said.count('has no result') == 1, said
    assert summary['camera_rate_hz'] == 1000
    assert 0 < summary['machine_rate_hz'] < 1000
    share = 100 * summary['machine_rate_hz'] / 1000
    assert summary['live_percent'] == pytest.approx(share)
    assert f'8 of 9 frames shown. This machine segments {summary["machine_rate_hz"]:.1f}' in said
    assert summary['latency_p95_ms'] >= summary['latency_p50_ms'] > 0
    assert summary['instances_per_frame'] > 0
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    assert sheet.shape[1] > 3 * 160
    assert sheet.std() > 10, 'the contact sheet is blank'
    video = cv2.VideoCapture(str(tmp_path / 'video.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 8
    ok, frame = video.read()
    assert ok
    assert frame.shape == (96, 3 * 160, 3)


def test_demo_without_its_file_says_so_before_anything_starts(tmp_path: Path, domain: int) -> None:
    done = run_demo('--source', tmp_path / 'none.mp4', domain=domain)
    assert done.returncode == 2
    assert 'none.mp4' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.parametrize('after', ['Importing PyTorch', 'Loading'])
def test_ctrl_c_ends_all_three_processes_without_a_traceback(
    weights: Path, tmp_path: Path, domain: int, after: str
) -> None:
    process = demo_process('--weights', weights, '--out', tmp_path, domain=domain)
    assert process.stderr is not None
    said = []
    for line in process.stderr:  # ends when the last process does
        said.append(line)
        if after in line or 'Loading' in line:  # PyTorch may be read too soon to be told of
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            break
    _, errors = process.communicate(timeout=60)  # likewise
    assert process.returncode == 130, (said, errors)
    assert 'Traceback' not in errors
    assert 'Error' not in errors
