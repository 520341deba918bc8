"""What unusual frames took goes back to the system; what usual ones take is kept for the next."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pdl_ros.runtime import memory
from pdl_ros.runtime.memory import FrameMemory


@pytest.fixture
def given_back(monkeypatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(memory, 'give_freed_memory_back', lambda: calls.append(1))
    return calls


def test_a_camera_of_one_size_never_waits_for_memory_to_be_given_back(given_back):
    frames = FrameMemory()
    for size in (10**6, 10**6, 2 * 10**6, 10**6):
        frames.frame_done(size)
    assert not given_back


@pytest.mark.parametrize('unusual', [10**8, 0], ids=['large', 'failed'])
def test_after_an_unusual_frame_the_next_usual_one_gives_its_memory_back(given_back, unusual):
    frames = FrameMemory()
    frames.frame_done(10**6)
    for _ in range(5):
        frames.frame_done(unusual)
    given_back.clear()
    frames.frame_done(10**6)
    assert len(given_back) == 1


def test_a_large_frame_is_out_of_a_process_that_keeps_what_it_frees():
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            """
import os
import numpy as np
from pdl_ros.runtime.memory import FrameMemory, keep_freed_memory
keep_freed_memory()
page = os.sysconf('SC_PAGE_SIZE')
resident = lambda: int(open('/proc/self/statm').read().split()[1]) * page / 2**20
frames, before = FrameMemory(), resident()
for megabytes in (1, 300, 1):
    frame, other = (np.ones(megabytes << 20, np.uint8) for _ in range(2))
    after = np.ones(1000)  # above both: the heap cannot just be cut off
    del frame, other
    frames.frame_done(megabytes << 20)
print(resident() - before)
""",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert float(done.stdout) < 100
