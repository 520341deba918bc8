"""Who trains without a terminal sees how far it is, how fast, and how long it will take."""

from __future__ import annotations

import logging

import pytest

from pdl_ros.training import progress
from pdl_ros.training.progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch):
    times = [1000.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: times[0])
    return times


def test_lines_come_at_once_then_rarer_and_name_speed_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO, 'pdl_ros')
    with TrainingProgress(100, 1000, 8, quiet=False) as said:
        for step in range(101, 301):
            clock[0] += 2.0
            said.update(step, {'semantic': 1.5, 'center': 0.25})
    first, *rest = caplog.messages
    assert first == 'step 101 of 1000: loss 1.75, 4.0 crops/s, 0:29:58 left'
    assert 5 <= len(rest) <= 12  # 400 seconds: after 2, 4, 8, ... and then once a minute


def test_a_validation_does_not_count_as_slow_training(clock, caplog):
    caplog.set_level(logging.INFO, 'pdl_ros')
    said = TrainingProgress(0, 2, 8, quiet=False)
    clock[0] += 2.0
    said.update(1, {'semantic': 1.0})
    said.pause()
    clock[0] += 500.0
    said.go_on()
    clock[0] += 2.0
    said.update(2, {'semantic': 1.0})
    assert '4.0 crops/s, 0:00:00 left' in caplog.messages[-1]


def test_quiet_is_quiet(clock, caplog):
    caplog.set_level(logging.INFO, 'pdl_ros')
    with TrainingProgress(0, 2, 8, quiet=True) as said:
        said.update(1, {'semantic': 1.0})
    assert not caplog.messages
