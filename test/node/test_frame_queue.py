"""Frames of several cameras meet in the frame_queue, and none waits for a camera that is dead."""

from __future__ import annotations

import threading
import time

from pdl_ros.node.input.frame_queue import FrameQueue


def opened(cameras: str, **arguments: object) -> FrameQueue[int]:
    frame_queue: FrameQueue[int] = FrameQueue(cameras.split(), **arguments)  # type: ignore[arg-type]
    frame_queue.open()
    return frame_queue


def later(seconds: float, frame_queue: FrameQueue[int], camera: str, item: int) -> None:
    threading.Timer(seconds, frame_queue.put, (camera, item)).start()


def test_without_a_window_each_frame_is_taken_on_its_own_and_no_camera_starves() -> None:
    frame_queue = opened('front left')
    frame_queue.put('front', 1)
    frame_queue.put('left', 2)
    assert frame_queue.take() == {'front': 1}
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'left': 2}
    assert frame_queue.take() == {'front': 3}


def test_frames_within_the_window_are_taken_together_and_at_once_when_all_are_there() -> None:
    frame_queue = opened('front left', window=20.0)
    frame_queue.put('left', 0)
    frame_queue.put('front', 1)
    later(0.1, frame_queue, 'left', 2)
    start = time.monotonic()
    assert frame_queue.take() == {'front': 1, 'left': 0}
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'front': 3, 'left': 2}
    assert time.monotonic() - start < 10, 'it waited though every camera had a frame'


def test_a_camera_that_never_spoke_or_fell_silent_is_not_waited_for() -> None:
    frame_queue = opened('front left dead', window=20.0)
    start = time.monotonic()
    frame_queue.put('left', 1)
    frame_queue.put('front', 2)
    assert frame_queue.take() == {'front': 2, 'left': 1}
    time.sleep(1.1)  # now the left camera is dead too
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'front': 3}
    assert time.monotonic() - start < 10


def test_a_camera_that_is_late_is_left_behind_when_the_window_ends() -> None:
    frame_queue = opened('front left', window=0.2)
    frame_queue.put('left', 1)
    frame_queue.put('front', 2)
    frame_queue.take()
    frame_queue.put('front', 3)
    start = time.monotonic()
    assert frame_queue.take() == {'front': 3}
    assert 0.15 < time.monotonic() - start < 5


def test_the_newest_frame_replaces_the_one_that_waits_for_company() -> None:
    frame_queue = opened('front left', window=1.0)
    frame_queue.put('left', 0)
    frame_queue.put('front', 1)
    frame_queue.take()
    frame_queue.put('front', 2)
    later(0.05, frame_queue, 'front', 3)
    later(0.2, frame_queue, 'left', 4)
    assert frame_queue.take() == {'front': 3, 'left': 4}
    assert frame_queue.dropped == {'front': 1, 'left': 0}


def test_closing_wakes_whoever_waits_for_company() -> None:
    frame_queue = opened('front left', window=60.0)
    frame_queue.put('left', 0)
    frame_queue.put('front', 1)
    frame_queue.take()
    frame_queue.put('front', 2)
    threading.Timer(0.1, frame_queue.close).start()
    start = time.monotonic()
    assert frame_queue.take() == {}
    assert time.monotonic() - start < 10


def test_a_queue_that_was_full_says_when_it_has_room() -> None:
    told: list[bool] = []
    frame_queue = opened(
        'front', newest=False, capacity=2, on_space=lambda: told.append(frame_queue.full('front'))
    )
    frame_queue.put('front', 1)
    assert not frame_queue.full('front')
    frame_queue.put('front', 2)
    assert frame_queue.full('front')
    assert frame_queue.take() == {'front': 1}
    assert told == [False]
    assert frame_queue.take() == {'front': 2}
    assert told == [False]
