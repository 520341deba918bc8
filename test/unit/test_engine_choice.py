"""engine: auto takes the fastest engine that works and agrees, times once, and says so."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from pdl_ros.engines import EngineSettings, candidates, choice
from pdl_ros.engines.candidates import RUNTIMES, Candidates, Way
from pdl_ros.engines.trial import fastest
from pdl_ros.network.checkpoints import skeleton
from pdl_ros.network.cost import multiply_adds
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime import precompile

from .test_network import network_of
from .timed_engines import HEADS, Bench

TINY = get_variant('scene_tiny')
INT8 = Way('openvino', 'int8')
FRAME = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8).repeat(12, 0).repeat(12, 1)


@pytest.fixture(autouse=True)
def _all_engines(monkeypatch, tmp_path):
    """The engines that users have, and a cache of the test's own."""
    monkeypatch.setattr(candidates, 'RUNTIMES', RUNTIMES)
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))


# --- the choice is remembered ---------------------------------------------------------------------

TORCH, VINO, ORT = (Way(name, 'fp32') for name in RUNTIMES)
SECONDS = {TORCH: 0.06, VINO: 0.004, ORT: 0.08}


@pytest.fixture
def start(monkeypatch, caplog):
    """A function that starts on fake engines; it returns which were made, and what was said."""
    caplog.set_level(logging.INFO, 'pdl_ros.engines')
    monkeypatch.setattr(choice, '_expected', lambda network, images: HEADS)

    def started(seconds=SECONDS, network=None, size=(64, 96), batch=1, building=0.0, **found):
        bench = Bench(seconds, building)
        monkeypatch.setattr(choice, 'open_way', bench.make)
        monkeypatch.setattr(choice, 'fastest', clocked(bench))
        caplog.clear()
        which = Candidates(**{'ways': tuple(seconds), 'refused': {INT8: 'too far off'}, **found})
        engine = choice.open_fastest(network or network_of(), TINY, which, size, batch)
        assert bench.alive == [engine.key]
        return bench.made, [record.getMessage() for record in caplog.records]

    def clocked(bench):
        def run(ways, make, images, expected, budget):
            return fastest(ways, make, images, expected, 15.0, lambda: bench.now)

        return run

    return started


def test_the_first_start_says_what_it_does_and_why_and_the_second_knows(start):
    made, (before, after) = start()
    assert made == [TORCH, VINO, ORT]
    assert before == (
        'Timing once, for at most 15 s, how scene_tiny runs fastest here: '
        'torch fp32, openvino fp32, onnxruntime fp32.'
    )
    assert after.startswith(
        'scene_tiny runs on openvino fp32, 4.0 ms a frame of 64×96; torch fp32 60 ms; '
        'onnxruntime fp32 80 ms; not openvino int8: too far off; found in '
    )
    made, (said,) = start()
    assert made == [VINO]
    assert said.endswith('not openvino int8: too far off; known from an earlier start.')


@pytest.mark.parametrize(
    'change',
    [
        {'size': (64, 128)},
        {'batch': 2},
        {'quantised': b'int8'},
        {'refused': {}},
        {'seconds': {TORCH: 0.06, VINO: 0.004}},
    ],
)
def test_what_is_asked_for_otherwise_is_timed_anew(start, change):
    start()
    made, _ = start(**change)
    assert made == list(change.get('seconds', SECONDS))


@pytest.mark.parametrize('fact', ['processor', 'instruction_set', '_version'])
def test_another_processor_or_version_is_timed_anew(start, monkeypatch, fact):
    start()
    monkeypatch.setattr(choice, fact, lambda *_: 'another')
    assert start()[0] == list(SECONDS)


def test_other_weights_and_another_number_of_threads_are_timed_anew(start, monkeypatch):
    start()
    other = copy.deepcopy(network_of())
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1
    assert start(network=other)[0] == list(SECONDS)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 77)
    assert start()[0] == list(SECONDS)


def test_a_busy_machine_times_the_rest_at_the_next_start(start):
    made, (_, said) = start(building=8.0)
    assert made == [TORCH, VINO]
    assert 'onnxruntime fp32 at the next start; found in' in said
    made, (_, said) = start({**SECONDS, ORT: 0.001})
    assert made == [VINO, ORT]
    assert 'runs on onnxruntime fp32, 1.0 ms' in said and 'torch fp32 60 ms' in said
    assert start({**SECONDS, ORT: 0.001})[0] == [ORT]


def test_where_what_was_chosen_and_all_that_was_left_out_fail_the_others_are_tried(start):
    assert start(building=8.0)[0] == [TORCH, VINO]  # VINO is chosen, ORT left for the next start
    gone = RuntimeError('its library was removed')
    made, said = start({**SECONDS, VINO: gone, ORT: gone})
    assert made == [VINO, ORT, TORCH, VINO, ORT]
    assert 'What was chosen at an earlier start fails: No engine runs' in said[1]
    assert 'runs on torch fp32' in said[-1]
    assert start()[0] == [TORCH]


def test_where_what_was_chosen_fails_what_was_faster_than_the_rest_is_not_forgotten(start):
    start(building=8.0)
    made, said = start({**SECONDS, VINO: RuntimeError('its library was removed')})
    assert made == [VINO, ORT, TORCH, VINO, ORT]
    assert 'fails: RuntimeError: its library was removed' in said[1]
    assert 'runs on torch fp32' in said[-1]


def test_what_was_chosen_but_now_fails_is_replaced_with_a_word(start):
    start()
    made, said = start({**SECONDS, VINO: RuntimeError('its library was removed')})
    assert made == [VINO, TORCH, VINO, ORT]
    assert 'fails: RuntimeError: its library was removed' in said[0]
    assert 'runs on torch fp32' in said[-1]


def test_no_engine_is_timed_beside_kernels_that_compile(start, monkeypatch):
    order = []
    monkeypatch.setattr(precompile, '_builds', [Mock(wait=lambda: order.append('compiled'))])
    monkeypatch.setattr(choice, 'give_freed_memory_back', lambda: order.append('timed'))
    start()
    assert order == ['compiled', 'timed']
    start()  # it knows
    assert order == ['compiled', 'timed']


def test_a_frame_that_would_take_seconds_is_timed_smaller_in_its_shape():
    network = network_of()
    assert choice._timed_size(network, TINY, (160, 320), 1) == (160, 320)
    counted = choice._work_per_pixel(network) * 320 * 640
    assert counted == pytest.approx(multiply_adds(skeleton(TINY), 320, 640), rel=0.05)
    high, wide = choice._timed_size(network, TINY, (160, 320), 1000)
    assert choice._timed_size(network, TINY, (high, wide), 1000) == (high, wide)
    assert 0 < high < 160 and high % 32 == wide % 32 == 0
    assert wide / high == pytest.approx(2, rel=0.3)


# --- with real engines ----------------------------------------------------------------------------


def test_the_shipped_network_is_run_by_what_was_timed_and_keeps_its_labels(caplog, monkeypatch):
    pytest.importorskip('onnxruntime', reason='needs onnxruntime')
    monkeypatch.setattr(choice, 'BUDGET', 600)  # all are timed, on a busy machine too
    caplog.set_level(logging.INFO, 'pdl_ros.engines')
    expected = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))(FRAME)
    ours = EngineSettings(precision='fp32', frame_size=FRAME.shape[:2])
    first, second = (Segmenter.load('scene_tiny', 'cpu', engine=ours) for _ in range(2))
    runs = f'scene_tiny runs on {first.engine.name} fp32, '
    engines = [record for record in caplog.records if record.name == 'pdl_ros.engines']
    timing, chosen, known = (record.getMessage() for record in engines)
    assert 'torch fp32' in timing and 'onnxruntime fp32' in timing
    assert chosen.startswith(runs) and known.startswith(runs)
    assert second.engine.name == first.engine.name
    assert (second(FRAME).panoptic == expected.panoptic).float().mean() > 0.999


def test_a_robot_with_avx2_runs_what_is_fastest_with_avx2(tmp_path):
    code = """
from pdl_ros.engines import EngineSettings
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime import precompile
import logging
logging.basicConfig(level=logging.INFO, format='%(name)s %(message)s')
segmenter = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings(frame_size=(96, 160)))
"""
    limits = {'ONEDNN_MAX_CPU_ISA': 'AVX2', 'ATEN_CPU_CAPABILITY': 'avx2'}
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, **limits, 'PDL_ROS_CACHE': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if 'pdl_ros.engines' in line]
    timing = next(line for line in said if 'Timing once' in line)
    chosen = next(line for line in said if 'runs on' in line)
    assert 'torch fp32' in timing and 'bf16' not in timing
    assert 'scene_tiny runs on ' in chosen and 'ms a frame of 160×288' in chosen
