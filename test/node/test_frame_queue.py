"""Frames of several cameras meet in the frame_queue, and none waits for a camera that is dead."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from pdl_ros.node.input.frame_queue import FrameQueue

pytestmark = pytest.mark.timeout(60)  # a window of an hour: whoever waits for its end hangs


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
    frame_queue = opened('front left', window=3600.0)
    frame_queue.put('left', 0)
    frame_queue.put('front', 1)
    later(0.1, frame_queue, 'left', 2)
    assert frame_queue.take() == {'front': 1, 'left': 0}
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'front': 3, 'left': 2}


def test_a_camera_that_never_spoke_or_fell_silent_is_not_waited_for() -> None:
    frame_queue = opened('front left dead', window=3600.0)
    frame_queue.put('left', 1)
    frame_queue.put('front', 2)
    assert frame_queue.take() == {'front': 2, 'left': 1}
    time.sleep(1.1)  # now the left camera is dead too
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'front': 3}


def test_a_camera_that_is_late_is_left_behind_when_the_window_ends() -> None:
    frame_queue = opened('front left', window=0.2)
    frame_queue.put('left', 1)
    frame_queue.put('front', 2)
    frame_queue.take()
    frame_queue.put('front', 3)
    assert frame_queue.take() == {'front': 3}


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
    frame_queue = opened('front left', window=3600.0)
    frame_queue.put('left', 0)
    frame_queue.put('front', 1)
    frame_queue.take()
    frame_queue.put('front', 2)
    threading.Timer(0.1, frame_queue.close).start()
    assert frame_queue.take() == {}


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


def test_a_frame_that_waits_for_its_depth_is_taken_once_it_is_complete() -> None:
    frame_queue, complete = opened('front'), threading.Event()
    frame_queue.put('front', 1, lambda: 0.0 if complete.is_set() else 3600.0)

    def depth_arrives() -> None:
        complete.set()
        frame_queue.look_again()

    threading.Timer(0.1, depth_arrives).start()
    assert frame_queue.take() == {'front': 1}
    assert complete.is_set()


def test_a_frame_whose_depth_never_comes_is_taken_when_its_time_is_over() -> None:
    frame_queue, end = opened('front'), time.monotonic() + 0.2
    frame_queue.put('front', 1, lambda: end - time.monotonic())
    assert frame_queue.take() == {'front': 1}
    assert end <= time.monotonic() < end + 10


def test_a_frame_that_waits_for_its_depth_holds_up_no_other_camera() -> None:
    frame_queue = opened('front left')
    frame_queue.put('front', 1, lambda: 60.0)
    frame_queue.put('left', 2)
    assert frame_queue.take() == {'left': 2}
    together = opened('front left', window=0.1)
    together.put('front', 1, lambda: 60.0)
    together.put('left', 2)
    assert together.take() == {'left': 2}


def test_a_newer_frame_replaces_those_that_wait_once_it_is_complete_and_not_before() -> None:
    frame_queue, waits = opened('front'), {1: 60.0, 2: 60.0, 3: 60.0}
    for item in waits:
        frame_queue.put('front', item, lambda item=item: waits[item])
    assert frame_queue.dropped == {'front': 0}
    waits[2] = 0.0
    assert frame_queue.take() == {'front': 2}
    assert frame_queue.dropped == {'front': 1}
    waits[3] = 0.0
    assert frame_queue.take() == {'front': 3}
    frame_queue.put('front', 4, lambda: 60.0)
    frame_queue.put('front', 5)
    assert frame_queue.take() == {'front': 5}
    assert (frame_queue.received, frame_queue.dropped) == ({'front': 5}, {'front': 2})


def test_a_depth_camera_that_is_slower_than_the_frames_starves_none_and_memory_stays() -> None:
    frame_queue, complete = opened('front'), set()
    for item in range(100):
        frame_queue.put('front', item, lambda item=item: 0.0 if item in complete else 60.0)
    assert len(frame_queue._queues['front']) == 8
    complete.add(0)
    assert frame_queue.take() == {'front': 0}, 'the one that waited longest'
    complete.add(99)
    assert frame_queue.take() == {'front': 99}
    assert frame_queue.dropped == {'front': 98}


def test_a_frame_that_is_wanted_with_depth_after_all_does_not_end_the_worker() -> None:
    frame_queue, answers = opened('front'), itertools.chain([0.0, 0.05], itertools.repeat(0.0))
    frame_queue.put('front', 1, lambda: next(answers))
    assert frame_queue.take() == {'front': 1}
