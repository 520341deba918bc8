"""Frames go on while a better engine is made, and the change loses none."""

from __future__ import annotations

import copy
import logging
import threading
import time

import pytest
import torch

from pdl_ros.engines.background import BackgroundEngine
from pdl_ros.engines.progress import Progress
from pdl_ros.engines.tensorrt_plans import onnx_model
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.errors import PdlError
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab

from .test_network import TINY, network_of

CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def network() -> PanopticDeepLab:
    """A small network."""
    return network_of()


@pytest.fixture
def images() -> torch.Tensor:
    """One small image."""
    return torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(3))


class Second(TorchEngine):
    """A real engine that says so, and remembers that it was released."""

    name = 'second'
    released = False

    def release(self) -> None:
        self.released = True
        super().release()


def engine(network, kind=TorchEngine):
    return kind(copy.deepcopy(network), CPU)


def wait_for(condition) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def builder_is_over() -> bool:
    return not any(thread.name == 'engine builder' for thread in threading.enumerate())


# Engines are made beforehand: TorchEngine's rewriting (torch.fx) is not for two threads at a time.


def test_frames_run_on_torch_until_the_other_engine_is_ready(network, images, caplog):
    caplog.set_level(logging.INFO)
    build, first, second = threading.Event(), engine(network, Second), engine(network)

    def make(stop) -> TorchEngine:
        build.wait()
        return second

    first.name = 'first'
    both = BackgroundEngine(first, make)
    before = both(images)
    assert (both.name, both.precision, both.device) == ('first', 'fp32', CPU)
    build.set()
    wait_for(builder_is_over)
    assert both.name == 'first'  # it changes with a frame, not under one
    after = both(images)
    assert both.name == 'torch'
    assert first.released
    for old, new in zip(before[:3], after[:3], strict=True):
        torch.testing.assert_close(old, new)
    assert [r.getMessage() for r in caplog.records if 'From now on' in r.getMessage()] == [
        'From now on frames run on torch fp32.'
    ]


def test_no_frame_is_lost_or_wrong_while_a_network_is_exported_and_the_engine_changes(
    network, images
):
    alone, exported = onnx_model(network, TINY, 'fp32'), []
    second = engine(network, Second)

    def make(stop) -> TorchEngine:
        exported.append(onnx_model(network, TINY, 'fp32'))
        return second

    first = engine(network)
    expected = first(images).semantic.clone()
    both = BackgroundEngine(first, make)
    seen = []
    end = time.monotonic() + 60
    while seen.count('second') < 3 and time.monotonic() < end:
        torch.testing.assert_close(both(images).semantic, expected)
        seen.append(both.name)
    assert seen.count('second') == 3
    assert seen.count('torch') > 10
    assert seen == sorted(seen, key=['torch', 'second'].index)  # it never goes back
    assert exported == [alone]


def test_a_build_that_fails_is_one_sentence_and_frames_go_on(network, images, caplog):
    def make(stop) -> TorchEngine:
        raise PdlError('TensorRT could not build the engine: out of memory.')

    both = BackgroundEngine(engine(network), make)
    wait_for(builder_is_over)
    assert both(images).stride == 4
    assert both.name == 'torch'
    (record,) = caplog.records
    assert record.getMessage() == (
        'Frames stay on torch fp32: TensorRT could not build the engine: out of memory.'
    )
    assert record.exc_info is None


def test_a_bug_in_a_build_shows_its_traceback_and_frames_go_on(network, images, caplog):
    both = BackgroundEngine(engine(network), lambda stop: 1 / 0)
    wait_for(builder_is_over)
    assert both(images).stride == 4
    assert caplog.records[0].exc_info is not None


def test_an_engine_that_fails_on_its_first_frame_is_given_up(network, images, caplog):
    class Broken(Second):
        def __call__(self, images):
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    broken = engine(network, Broken)
    both = BackgroundEngine(engine(network), lambda stop: broken)
    wait_for(builder_is_over)
    assert both(images).stride == 4
    assert both.name == 'torch'
    assert broken.released
    assert 'Frames stay on torch fp32: CUDA out of memory.' in caplog.text


def test_release_does_not_wait_for_the_build_and_what_comes_late_is_released(network, caplog):
    late, asked, released = engine(network, Second), [], threading.Event()

    def make(stop: threading.Event) -> TorchEngine:
        asked.append(stop.wait(10))
        assert released.wait(10), 'release waits for the build, which waits for release'
        return late

    both = BackgroundEngine(engine(network), make)
    both.release()
    assert not builder_is_over()
    released.set()
    wait_for(builder_is_over)
    assert asked == [True]
    assert late.released
    assert not caplog.records


def test_release_drops_an_engine_that_waits_for_its_first_frame(network):
    second = engine(network, Second)
    both = BackgroundEngine(engine(network), lambda stop: second)
    wait_for(builder_is_over)
    both.release()
    assert second.released


# --- progress -------------------------------------------------------------------------------------


def test_a_long_job_is_heard_of_regularly_even_when_it_reports_nothing(caplog):
    caplog.set_level(logging.INFO)
    with Progress('Building', period=0.1) as progress:
        progress.step('Tactics', 0, 40)
        progress.step('Tactics', 3)
        time.sleep(0.55)
        progress.finish('Tactics')
        time.sleep(0.25)
    lines = [record.getMessage() for record in caplog.records]
    times = [record.created for record in caplog.records]
    assert lines[0].startswith('Building: begun')
    assert lines[1] == 'Building: 0 s, Tactics 3 of 40.'
    assert 'Tactics' not in lines[-2]
    assert lines[-1] == 'Building: done after 1 s.'
    assert max(b - a for a, b in zip(times, times[1:], strict=False)) < 0.3
    assert 5 <= len(lines) <= 10


def test_every_five_seconds_is_the_default():
    assert Progress('x')._period == 5.0


def test_a_job_that_fails_says_so_and_leaves_no_thread(caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(PdlError), Progress('Building', period=0.05):
        raise PdlError('No.')
    assert caplog.records[-1].getMessage() == 'Building: given up after 0 s.'
    assert not any(thread.name == 'progress' for thread in threading.enumerate())
