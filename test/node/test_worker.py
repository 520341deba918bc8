"""A device that fails in every way: a frame is lost, or the engine is started again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.parameter import Parameter

from pdl_ros.node import panoptic_node, supervisor
from pdl_ros.pipeline import Segmented, Segmenter

from .harness import running
from .inside import inside
from .test_topics import message_of, pixels_of

SHORT = {'engine_timeout': 0.5}


class FaultySegmenter(Segmenter):
    """A real one, that does on every frame what `fault` says; a new one is well again, unless it is
    `incurable`.
    """

    incurable = False
    fault = ''
    made: list[FaultySegmenter] = []
    hung = threading.Event()  # set when a frame hangs
    let_go = threading.Event()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if not FaultySegmenter.incurable:
            FaultySegmenter.fault = ''
        FaultySegmenter.made.append(self)
        self.frames = 0

    def start(
        self, frames: Any, output_sizes: Any = None, smoothers: Any = None
    ) -> Callable[[], Segmented]:
        self.frames += 1
        fault, finish = FaultySegmenter.fault, super().start(frames, output_sizes, smoothers)
        if fault in ('start', 'sticks'):
            raise RuntimeError('CUDA error: device-side assert triggered\nCompile with TORCH_USE')
        if fault == 'hangs':
            self.hang()

        def faulty() -> Segmented:
            results, stages = finish()
            if fault in ('finish', 'sticks after start'):
                raise RuntimeError('CUDA error: device-side assert triggered')
            if fault == 'hangs in finish':
                self.hang()
            if fault == 'no result':
                results = []
            if fault == 'wrong size':
                results = [super(FaultySegmenter, self).start(frames, [(5, 7)])()[0][0]]
            return Segmented(results, stages)

        return faulty

    def hang(self) -> None:
        FaultySegmenter.hung.set()
        FaultySegmenter.let_go.wait(60)

    def recover(self) -> None:
        if FaultySegmenter.fault.startswith('sticks'):
            raise RuntimeError('CUDA error: device-side assert triggered')
        super().recover()


@pytest.fixture(autouse=True)
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FaultySegmenter]]:
    """The class of the node's segmenters; well at first."""
    monkeypatch.setattr('pdl_ros.node.panoptic_node.Segmenter', FaultySegmenter)
    monkeypatch.setattr(supervisor, '_PAUSE', 0.05)
    FaultySegmenter.incurable, FaultySegmenter.fault, FaultySegmenter.made = False, '', []
    FaultySegmenter.hung.clear()
    FaultySegmenter.let_go.clear()
    yield FaultySegmenter
    FaultySegmenter.let_go.set()
    FaultySegmenter.made = []


@pytest.mark.parametrize('fault', ['start', 'finish', 'wrong size', 'no result'])
def test_a_frame_that_the_device_fails_on_is_said_and_the_next_one_is_segmented(
    parameters: dict[str, Any],
    domain: int,
    rgb: np.ndarray,
    segmenter: Segmenter,
    faulty: type[FaultySegmenter],
    fault: str,
) -> None:
    with inside(parameters, domain) as node:
        node.start()
        for _ in range(3):  # more than frames in flight: what each held must be given back
            faulty.fault = fault
            failed = node.node._cameras[''].statistics.unreadable
            node.send(rgb)
            node.wait(lambda n=failed: node.node._cameras[''].statistics.unreadable > n)
            faulty.fault = ''
            expected = segmenter(rgb).panoptic.numpy()
            np.testing.assert_array_equal(pixels_of(node.segment(rgb)), expected)
        assert node.state == 'active'
        node.wait(lambda: len(node.errors) >= 1)
        assert all('/image: frame skipped: RuntimeError: ' in line for line in node.errors)
        assert not any('\n' in line for line in node.errors)
        node.wait(
            lambda: any(d.status[-1].level == DiagnosticStatus.ERROR for d in node.diagnostics)
        )
        assert len(faulty.made) == 1, 'the engine was restarted for nothing'


@pytest.mark.parametrize('fault', ['sticks', 'sticks after start', 'hangs', 'hangs in finish'])
def test_a_device_error_that_sticks_is_noticed_and_the_engine_is_started_again(
    parameters: dict[str, Any],
    domain: int,
    rgb: np.ndarray,
    segmenter: Segmenter,
    faulty: type[FaultySegmenter],
    fault: str,
) -> None:
    with inside({**parameters, **SHORT}, domain) as node:
        node.start()
        node.segment(rgb)
        node.states.clear()
        faulty.fault = fault
        node.send(rgb)
        node.wait(lambda: any('cannot go on' in line for line in node.errors))
        (said,) = [line for line in node.errors if 'cannot go on' in line]
        assert said.endswith('the engine is started again.')
        node.wait(lambda: node.state == 'active' and len(faulty.made) == 2)
        node.wait(lambda: 'active' in node.states)
        assert node.states == [
            'deactivating', 'errorprocessing', 'unconfigured', 'configuring', 'inactive',
            'activating', 'active',
        ]  # fmt: skip
        node.matched()
        expected = segmenter(rgb).panoptic.numpy()
        np.testing.assert_array_equal(pixels_of(node.segment(rgb)), expected)
        faulty.let_go.set()  # the old frame comes back late: it is nobody's any more
        node.wait(lambda: not lives(faulty.made[0]))
        count = len(node.results)
        np.testing.assert_array_equal(pixels_of(node.segment(rgb)), expected)
        assert len(node.results) == count + 1
        node.wait(lambda: node.level == DiagnosticStatus.OK)


def lives(segmenter: Segmenter) -> bool:
    """Whether a thread still works with a segmenter."""
    workers = [t for t in threading.enumerate() if t.name in ('segmenter', 'publisher')]
    return len(workers) > 2 * (
        len(FaultySegmenter.made) - FaultySegmenter.made.index(segmenter) - 1
    )


@pytest.mark.parametrize('fault', ['sticks', 'hangs'])
def test_within_a_second_of_a_dead_worker_diagnostics_say_why_and_the_node_is_unconfigured(
    parameters: dict[str, Any],
    domain: int,
    rgb: np.ndarray,
    faulty: type[FaultySegmenter],
    fault: str,
) -> None:
    with inside({**parameters, **SHORT, 'on_engine_failure': 'stop'}, domain) as node:
        node.start()
        faulty.fault = fault
        node.send(rgb)
        if fault == 'hangs':
            assert faulty.hung.wait(30)
            time.sleep(SHORT['engine_timeout'])
        else:
            node.wait(lambda: any('frame skipped' in line for line in node.errors))
        began = time.monotonic()
        node.wait(lambda: node.level == DiagnosticStatus.ERROR)
        assert time.monotonic() - began < 3, 'one second is promised; a loaded machine gets three'
        assert node.message.startswith('The engine cannot go on: ')
        assert node.message.endswith('the node waits to be configured again.')
        node.wait(lambda: node.state == 'unconfigured')
        assert not node.topics
        assert sum('cannot go on' in line for line in node.errors) == 1
        faulty.fault = ''
        node.start()  # and an operator can start it
        node.segment(rgb)


def test_a_device_that_fails_on_every_frame_is_started_again_though_it_recovers_each_time(
    parameters: dict[str, Any], domain: int, rgb: np.ndarray, faulty: type[FaultySegmenter]
) -> None:
    with inside(parameters, domain) as node:
        node.start()
        faulty.fault = 'start'
        while len(faulty.made) == 1:
            node.send(rgb)
            node.wait(lambda: faulty.made[0].frames > 0)
        node.wait(lambda: node.state == 'active')
        node.matched()
        node.segment(rgb)
        (said,) = [line for line in node.errors if 'cannot go on' in line]
        assert '10 frames in a row failed, the last with RuntimeError: CUDA error' in said


def test_a_frame_that_cannot_be_published_costs_itself_and_a_publisher_that_hangs_the_engine(
    parameters: dict[str, Any],
    domain: int,
    rgb: np.ndarray,
    faulty: type[FaultySegmenter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with inside({**parameters, **SHORT}, domain) as node:
        node.start()
        outputs, statistics = node.node._outputs[''], node.node._cameras[''].statistics

        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError('no room')

        for count in range(1, 13):  # however often: it is not the engine's fault
            monkeypatch.setattr(outputs, 'publish', fails)
            node.send(rgb)
            node.wait(lambda n=count: statistics.unreadable == n)
        monkeypatch.undo()
        monkeypatch.setattr(panoptic_node, 'Segmenter', faulty)
        node.segment(rgb)
        assert len(faulty.made) == 1
        monkeypatch.setattr(outputs, 'publish', lambda *_, **__: faulty.let_go.wait(60))
        node.send(rgb)
        node.wait(lambda: any('a frame could not be published for 0.5 s' in e for e in node.errors))
        node.wait(lambda: node.state == 'active' and len(faulty.made) == 2)
        node.matched()
        node.segment(rgb)


def test_an_engine_that_fails_again_and_again_is_given_up_after_five_tries(
    parameters: dict[str, Any], domain: int, rgb: np.ndarray, faulty: type[FaultySegmenter]
) -> None:
    with inside(parameters, domain) as node:
        node.start()
        faulty.incurable, faulty.fault = True, 'sticks'
        node.send(rgb)
        node.wait(lambda: any('5 times and is not started again' in line for line in node.errors))
        assert node.state == 'unconfigured'
        assert len(faulty.made) == 6
        assert not node.topics
        node.wait(lambda: 'is not started again' in node.message)
        assert node.level == DiagnosticStatus.ERROR


def test_whoever_takes_the_node_down_while_it_waits_to_restart_is_not_overruled(
    parameters: dict[str, Any],
    domain: int,
    rgb: np.ndarray,
    faulty: type[FaultySegmenter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, '_PAUSE', 1.0)
    with inside(parameters, domain) as node:
        node.start()
        faulty.fault = 'sticks'
        node.send(rgb)
        node.wait(lambda: node.state == 'unconfigured')
        node.node.trigger_shutdown()
        thread = node.node.supervisor._thread
        assert thread is not None
        thread.join(30)
        assert node.state == 'finalized'
        assert len(faulty.made) == 1


def test_deactivate_fails_when_a_frame_does_not_come_back_and_never_do_two_work_on_one_engine(
    parameters: dict[str, Any], domain: int, rgb: np.ndarray, faulty: type[FaultySegmenter]
) -> None:
    with inside({**parameters, 'on_engine_failure': 'stop'}, domain) as node:
        node.start()
        faulty.fault = 'hangs'
        node.send(rgb)
        assert faulty.hung.wait(30)
        node.node.set_parameters([Parameter('engine_timeout', value=0.2)])
        node.node.trigger_deactivate()
        assert node.state == 'unconfigured', 'it went through the error state'
        node.wait(lambda: bool(node.errors))
        (said,) = node.errors
        assert said.startswith('A frame has not come back from the engine for 0.2 s')
        faulty.fault = ''
        node.start()
        assert len(faulty.made) == 2
        late = faulty.made[0].frames
        faulty.let_go.set()
        node.wait(lambda: not lives(faulty.made[0]))
        node.segment(rgb)
        assert faulty.made[0].frames == late, 'the old worker was revived'


def test_a_node_that_is_stopped_publishes_the_frames_under_way_and_keeps_its_engine(
    parameters: dict[str, Any], domain: int, rgb: np.ndarray, faulty: type[FaultySegmenter]
) -> None:
    with inside(parameters, domain) as node:
        node.start()
        faulty.fault = 'hangs in finish'
        node.send(rgb)
        assert faulty.hung.wait(30)
        threading.Timer(0.3, faulty.let_go.set).start()
        node.node.trigger_deactivate()
        assert node.state == 'inactive'
        node.wait(lambda: len(node.results) == 1)
        faulty.fault = ''
        node.node.trigger_activate()
        node.matched()
        node.segment(rgb)
        assert len(faulty.made) == 1
        assert not node.errors


FAULTY_NODE = """
import sys, time
from pdl_ros.node import main
from pdl_ros.pipeline import Segmenter
start, warm_up = Segmenter.start, Segmenter.warm_up

def faulty(self, *arguments):
    if not hasattr(self, 'warm'):
        return start(self, *arguments)
    print('A frame is on the device.', file=sys.stderr, flush=True)
    if sys.argv[1] == 'hang':
        time.sleep(1000)
    raise RuntimeError('the device is gone')

def warmed_up(self, *arguments):
    warm_up(self, *arguments)
    self.warm = True

def recover(self):
    if hasattr(self, 'warm'):
        raise RuntimeError('the device is gone')

Segmenter.start, Segmenter.warm_up, Segmenter.recover = faulty, warmed_up, recover
main.main(['panoptic_node', *sys.argv[2:]])
"""


def test_control_c_ends_a_node_whose_device_hangs_within_a_second(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    program = ('-c', FAULTY_NODE, 'hang')
    with running(parameters, tmp_path / 'log.txt', domain, program) as node:
        node.listen('panoptic/image')
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        node.wait_for_log('A frame is on the device.')
        assert node.interrupt() == 0
        assert 'Traceback' not in node.log()


def test_a_node_whose_device_is_gone_exits_with_a_status_that_launch_respawns(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    program = ('-c', FAULTY_NODE, 'raise')
    with running(
        {**parameters, 'on_engine_failure': 'exit'}, tmp_path / 'log.txt', domain, program
    ) as node:
        node.listen('panoptic/image')
        node.camera.publish(message_of(rgb, 'rgb8', node.header()))
        assert node.process.wait(60) == 1
        assert 'the device is gone; the process exits with status 1.' in node.log()
        assert 'Traceback' not in node.log()
