"""Frames of several cameras meet in the inbox, and none waits for a camera that is dead."""

from __future__ import annotations

import threading
import time

from pdl_ros.node.inbox import Inbox


def opened(cameras: str, **arguments: object) -> Inbox[int]:
    inbox: Inbox[int] = Inbox(cameras.split(), **arguments)  # type: ignore[arg-type]
    inbox.open()
    return inbox


def later(seconds: float, inbox: Inbox[int], camera: str, item: int) -> None:
    threading.Timer(seconds, inbox.put, (camera, item)).start()


def test_without_a_window_each_frame_is_taken_on_its_own_and_no_camera_starves() -> None:
    inbox = opened('front left')
    inbox.put('front', 1)
    inbox.put('left', 2)
    assert inbox.take() == {'front': 1}
    inbox.put('front', 3)
    assert inbox.take() == {'left': 2}
    assert inbox.take() == {'front': 3}


def test_frames_within_the_window_are_taken_together_and_at_once_when_all_are_there() -> None:
    inbox = opened('front left', window=20.0)
    inbox.put('left', 0)
    inbox.put('front', 1)
    later(0.1, inbox, 'left', 2)
    start = time.monotonic()
    assert inbox.take() == {'front': 1, 'left': 0}
    inbox.put('front', 3)
    assert inbox.take() == {'front': 3, 'left': 2}
    assert time.monotonic() - start < 10, 'it waited though every camera had a frame'


def test_a_camera_that_never_spoke_or_fell_silent_is_not_waited_for() -> None:
    inbox = opened('front left dead', window=20.0)
    start = time.monotonic()
    inbox.put('left', 1)
    inbox.put('front', 2)
    assert inbox.take() == {'front': 2, 'left': 1}
    time.sleep(1.1)  # now the left camera is dead too
    inbox.put('front', 3)
    assert inbox.take() == {'front': 3}
    assert time.monotonic() - start < 10


def test_a_camera_that_is_late_is_left_behind_when_the_window_ends() -> None:
    inbox = opened('front left', window=0.2)
    inbox.put('left', 1)
    inbox.put('front', 2)
    inbox.take()
    inbox.put('front', 3)
    start = time.monotonic()
    assert inbox.take() == {'front': 3}
    assert 0.15 < time.monotonic() - start < 5


def test_the_newest_frame_replaces_the_one_that_waits_for_company() -> None:
    inbox = opened('front left', window=1.0)
    inbox.put('left', 0)
    inbox.put('front', 1)
    inbox.take()
    inbox.put('front', 2)
    later(0.05, inbox, 'front', 3)
    later(0.2, inbox, 'left', 4)
    assert inbox.take() == {'front': 3, 'left': 4}
    assert inbox.dropped == {'front': 1, 'left': 0}


def test_closing_wakes_whoever_waits_for_company() -> None:
    inbox = opened('front left', window=60.0)
    inbox.put('left', 0)
    inbox.put('front', 1)
    inbox.take()
    inbox.put('front', 2)
    threading.Timer(0.1, inbox.close).start()
    start = time.monotonic()
    assert inbox.take() == {}
    assert time.monotonic() - start < 10


def test_a_queue_that_was_full_says_when_it_has_room() -> None:
    told: list[bool] = []
    inbox = opened(
        'front', newest=False, capacity=2, on_space=lambda: told.append(inbox.full('front'))
    )
    inbox.put('front', 1)
    assert not inbox.full('front')
    inbox.put('front', 2)
    assert inbox.full('front')
    assert inbox.take() == {'front': 1}
    assert told == [False]
    assert inbox.take() == {'front': 2}
    assert told == [False]
