"""What the demo says of the machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pdl_ros.demo.summary import Statistics, in_words

STAGES = ('decode', 'preprocess', 'network', 'fusion', 'readback', 'publish')


def timing(*stages: float, age: float, dropped: int = 0) -> Any:
    """A FrameTiming's fields; CI's job without ROS has no messages."""
    spent = {f'{name}_ms': ms for name, ms in zip(STAGES, stages, strict=True)}
    return SimpleNamespace(**spent, age_ms=age, queue_age_ms=70.0, frames_dropped=dropped)


def summary(network: float, camera_rate: float = 10.0, frames_in: int = 4) -> dict[str, Any]:
    """Of four frames, the first of which took long."""
    statistics = Statistics()
    for extra, instances in ((500, 3), (0, 4), (0, 5), (0, 4)):
        frame = timing(1, 2, network + extra, 20, 1, 6, age=network + extra + 40, dropped=1)
        statistics.add(frame, instances)
    return statistics.summary(frames_in, camera_rate)


def test_the_machine_is_judged_by_what_the_node_spends_on_a_frame_not_by_waiting():
    found = summary(network=95)
    assert found['machine_rate_hz'] == pytest.approx(8.0)
    assert found['live_percent'] == pytest.approx(80.0)
    assert found['camera_rate_hz'] == 10.0
    assert (found['frames_in'], found['frames_segmented'], found['frames_dropped']) == (4, 4, 1)
    assert found['latency_p50_ms'] == pytest.approx(135.0)
    assert found['latency_p95_ms'] > 500
    assert found['instances_per_frame'] == 4.0


@pytest.mark.parametrize(
    ('network', 'camera_rate', 'frames_in', 'words'),
    [
        (
            95,
            10.0,
            5,
            '4 of 5 frames shown. This machine segments 8.0 frames a second: '
            'of a live camera at 10 Hz it would have served 80 %.',
        ),
        (
            20,
            15.0,
            4,
            '4 of 4 frames shown. This machine segments 20.0 frames a second: '
            'it keeps up with a live camera at 15 Hz.',
        ),
        (
            70.1,
            10.0,
            4,
            '4 of 4 frames shown. This machine segments 10.0 frames a second: '
            'of a live camera at 10 Hz it would have served 99 %.',
        ),
    ],
)
def test_the_summary_says_in_words_what_a_live_camera_would_have_got(
    network, camera_rate, frames_in, words
):
    assert in_words(summary(network, camera_rate, frames_in)) == words
