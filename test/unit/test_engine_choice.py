"""engine: auto takes the fastest engine that works and agrees, times once, and says so."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.engines import EngineSettings, candidates, choice
from pdl_ros.engines.agreement import (
    Agreement,
    agreement_file,
    keep_agreement,
    read_agreement,
)
from pdl_ros.engines.candidates import RUNTIMES, Candidates, Way, find_candidates
from pdl_ros.engines.trial import fastest
from pdl_ros.errors import PdlError
from pdl_ros.network.checkpoints import skeleton
from pdl_ros.network.cost import multiply_adds
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime import cpu_features

from .test_network import network_of

TINY = get_variant('scene_tiny')
IMAGES = torch.zeros(1, 3, 8, 8)
HEADS = HeadOutputs(torch.ones(1, 5, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(1, 2, 2, 2), 4)
AMX = frozenset().union(*cpu_features.X86.values())
FRAME = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8).repeat(12, 0).repeat(12, 1)


@pytest.fixture(autouse=True)
def _all_engines(monkeypatch, tmp_path):
    """The engines that users have, and a cache of the test's own."""
    monkeypatch.setattr(candidates, 'RUNTIMES', RUNTIMES)
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def big_processor(monkeypatch):
    """An x86 processor that has everything, limited by the environment alone."""
    monkeypatch.setattr(cpu_features.platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(cpu_features, '_features', lambda: AMX)
    for name in ('ONEDNN_MAX_CPU_ISA', 'ATEN_CPU_CAPABILITY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('pdl_ros.engines.onnx_engine.find_spec', lambda name: name)


class Bench:
    """Engines that take a given time, on a clock that only they move."""

    def __init__(self, seconds: dict, building: float = 0.0) -> None:
        self.now, self.seconds, self.building = 0.0, seconds, building
        self.made: list = []
        self.alive: list = []
        self.most_alive = 0
        self.heads = dict.fromkeys(seconds, HEADS)
        self.calls_before_failure: dict = {}

    def make(self, key, **_) -> Fake:
        self.now += self.building
        self.made.append(key)
        if isinstance(self.seconds[key], Exception):
            raise self.seconds[key]
        self.alive.append(key)
        self.most_alive = max(self.most_alive, len(self.alive))
        return Fake(self, key)

    def fastest(self, budget: float = 15.0):
        keys = list(self.seconds)
        return fastest(keys, self.make, IMAGES, HEADS, budget, clock=lambda: self.now)


class Fake:
    name, precision, device = 'fake', 'fp32', torch.device('cpu')

    def __init__(self, bench: Bench, key) -> None:
        self.bench, self.key, self.calls = bench, key, 0

    def __call__(self, images):
        self.calls += 1
        if self.calls > self.bench.calls_before_failure.get(self.key, self.calls):
            raise RuntimeError('worn out')
        self.bench.now += self.bench.seconds[self.key]
        return self.bench.heads[self.key]

    def release(self):
        self.bench.alive.remove(self.key)


# --- the trial --------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 0.2), min_size=1, max_size=6))
def test_the_fastest_is_taken_in_whatever_order_and_the_others_give_their_memory_back(times):
    bench = Bench(dict(enumerate(times)))
    key, engine, trial = bench.fastest()
    assert times[key] == pytest.approx(min(times))
    assert bench.alive == [key] == [engine.key]
    assert bench.most_alive <= 2
    assert not trial.refused and not trial.left_out
    for number, seconds in trial.seconds.items():
        assert seconds == pytest.approx(times[number])


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=6), st.floats(0.1, 5), st.floats(0.5, 20))
def test_the_time_is_kept_but_for_the_engine_that_was_begun_and_who_had_none_is_named(
    times, building, budget
):
    bench = Bench(dict(enumerate(times)), building)
    key, _, trial = bench.fastest(budget)
    tried = bench.made
    assert tried + trial.left_out == list(bench.seconds)
    assert len(tried) >= min(2, len(times))
    assert times[key] == pytest.approx(min(times[number] for number in tried))
    costliest = building + 3 * max(times) + 2 * 1.5  # built, run once, and a pair in turns
    assert bench.now <= max(budget, 2 * costliest) + costliest


NAN = HEADS._replace(center_heatmap=torch.full((1, 1, 2, 2), float('nan')))
NOTHING = HEADS._replace(semantic=torch.zeros(1, 5, 2, 2))
SMALL = HEADS._replace(semantic=torch.ones(1, 5, 1, 1))


@pytest.mark.parametrize(
    ('wrong', 'word'),
    [
        (PdlError('It needs a thing.'), 'It needs a thing'),
        (RuntimeError('broken\nin C++'), 'RuntimeError: broken'),
        (NAN, 'heads are inf % off'),
        (NOTHING, 'heads are 100 % off'),
        (SMALL, 'heads are inf % off'),
    ],
)
def test_an_engine_that_fails_or_gives_other_heads_is_not_taken_however_fast(wrong, word):
    fails = isinstance(wrong, Exception)
    bench = Bench({'good': 0.1, 'wrong': wrong if fails else 0.001, 'slow': 0.2})
    if not fails:
        bench.heads['wrong'] = wrong
    key, _, trial = bench.fastest()
    assert (key, bench.alive) == ('good', ['good'])
    assert list(trial.refused) == ['wrong'] and word in trial.refused['wrong']


@pytest.mark.parametrize('calls', [1, 2, 5], ids='it ran {} times before'.format)
@pytest.mark.parametrize('keys', itertools.permutations(['frail', 'good', 'slow']), ids='-'.join)
def test_an_engine_that_fails_once_it_has_run_costs_the_robot_that_engine_alone(keys, calls):
    times = {'frail': 0.095, 'good': 0.1, 'slow': 0.2}
    bench = Bench({key: times[key] for key in keys})
    bench.calls_before_failure['frail'] = calls
    key, engine, trial = bench.fastest()
    assert (key, engine.key, bench.alive) == ('good', 'good', ['good'])
    assert bench.most_alive == 2
    assert trial.refused == {'frail': 'RuntimeError: worn out'}
    assert 'frail' not in trial.seconds


def test_where_nothing_works_the_sentence_says_why_of_each():
    with pytest.raises(PdlError, match=r'here: a: No a; b: ValueError: no b\.'):
        Bench({'a': PdlError('No a.'), 'b': ValueError('no b')}).fastest()


# --- what may be taken ------------------------------------------------------------------------

GOOD, FEW_PIXELS, LOW_PQ = (1.0, 0.0), (0.9949, 0.0), (0.999, -0.31)
INT8 = Way('openvino', 'int8')


def ways(engine='auto', precision='auto', rows=(), quantised=b'int8') -> list[str]:
    return [str(way) for way in find_candidates(engine, precision, rows, quantised).ways]


def test_fp32_of_every_engine_and_bf16_of_torch_need_no_measurement(big_processor):
    exact = ['torch fp32', 'openvino fp32', 'onnxruntime fp32']
    assert ways() == ['torch bf16', *exact]
    refused = find_candidates('auto', 'auto', (), b'int8').refused
    assert refused[INT8] == 'not measured on amx'
    assert len(refused) == 3


@pytest.mark.parametrize('isa', ['AVX2', 'AVX512_CORE', 'AVX512_CORE_VNNI'])
def test_on_a_robot_without_bf16_instructions_it_is_not_tried(big_processor, isa, monkeypatch):
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', isa)
    assert ways(quantised=None) == ['torch fp32', 'openvino fp32', 'onnxruntime fp32']


@pytest.mark.parametrize(
    ('measured', 'isa', 'taken'),
    [
        *((GOOD, 'amx', True), ((0.995, -0.3), 'amx', True), ((0.999, 4.0), 'amx', True)),
        *((FEW_PIXELS, 'amx', False), (LOW_PQ, 'amx', False)),
        *((GOOD, 'avx2', True), (FEW_PIXELS, 'avx2', False), (GOOD, 'neon', False)),
    ],
)
def test_int8_is_taken_where_it_met_the_mark_on_a_processor_of_this_kind(
    big_processor, measured, isa, taken
):
    assert ('openvino int8' in ways(rows=[Agreement(*INT8, isa, *measured)])) == taken


def test_what_int8_gave_on_this_very_instruction_set_goes_before_all_others(big_processor):
    here, there = Agreement(*INT8, 'amx', *GOOD), Agreement(*INT8, 'avx2', *FEW_PIXELS)
    assert 'openvino int8' in ways(rows=[there, here])
    here, there = Agreement(*INT8, 'amx', *FEW_PIXELS), Agreement(*INT8, 'avx2', *GOOD)
    assert 'openvino int8' not in ways(rows=[there, here])


def test_bf16_of_openvino_on_one_instruction_set_says_nothing_of_another(big_processor):
    rows = [Agreement('openvino', 'bf16', 'avx512_bf16', *GOOD)]
    assert 'openvino bf16' not in ways(rows=rows)


def test_bf16_of_torch_is_not_taken_for_weights_that_it_was_seen_to_spoil(big_processor):
    assert 'torch bf16' not in ways(rows=[Agreement('torch', 'bf16', 'amx', *FEW_PIXELS)])


def test_what_the_user_names_is_left_to_the_other_choice_alone(big_processor):
    rows = [Agreement(*INT8, 'amx', *GOOD)]
    assert ways('openvino', rows=rows) == ['openvino int8', 'openvino fp32']
    assert ways('onnx', rows=rows) == ['openvino int8', 'openvino fp32']
    assert ways('auto', 'int8', rows) == ['openvino int8']
    assert ways('auto', 'fp32') == ['torch fp32', 'openvino fp32', 'onnxruntime fp32']
    # Nothing agrees, and the user insists.
    assert ways('auto', 'int8') == ['openvino int8', 'onnxruntime int8']
    assert ways('openvino', 'bf16') == ['openvino bf16']


# --- what was measured, beside the weights ------------------------------------------------------

ROWS = [
    Agreement('torch', 'bf16', 'amx', 0.9972, -0.08, '3 images'),
    Agreement(*INT8, 'avx2', 0.996, -0.1, '3 images'),
]


def test_what_was_measured_is_kept_and_measured_again_it_is_replaced(tmp_path, caplog):
    checkpoint = tmp_path / 'street.safetensors'
    assert read_agreement(checkpoint, 'w') == read_agreement(None, 'w') == ()
    keep_agreement(checkpoint, 'w', ROWS)
    assert set(read_agreement(checkpoint, 'w')) == set(ROWS)
    better = Agreement(*INT8, 'avx2', 0.999, 0.0, '3 images')
    keep_agreement(checkpoint, 'w', [better])
    assert set(read_agreement(checkpoint, 'w')) == {ROWS[0], better}
    assert not caplog.records


def test_a_refusal_stays_when_another_engine_is_measured_on_other_frames(
    big_processor, tmp_path, caplog
):
    checkpoint = tmp_path / 'street.safetensors'
    row = {'engine': 'torch', 'precision': 'bf16', 'isa': 'amx'}
    row |= {'equal_pixels': 0.98, 'pq_difference': -2.0}
    older = {'weights': 'w', 'frames': '3 images', 'rows': [row]}  # frames once, for all rows
    agreement_file(checkpoint).write_text(json.dumps(older))
    other = Agreement('openvino', 'bf16', 'amx', 0.999, 0.0, '4 other images')
    keep_agreement(checkpoint, 'w', [other])
    rows = read_agreement(checkpoint, 'w')
    assert {r.engine: r.frames for r in rows} == {'torch': '3 images', 'openvino': '4 other images'}
    assert 'torch bf16' not in ways(rows=rows) and 'openvino bf16' in ways(rows=rows)
    assert not caplog.records


def test_what_was_measured_with_other_weights_is_not_believed(tmp_path, caplog):
    checkpoint = tmp_path / 'street.safetensors'
    path = keep_agreement(checkpoint, 'older weights', ROWS)
    assert read_agreement(checkpoint, 'w') == ()
    (record,) = caplog.records
    assert record.getMessage().startswith(f'{path} is about other weights and is not used')


def damaged(**changes) -> str:
    row = {'engine': 'a', 'precision': 'int8', 'isa': 'b', 'equal_pixels': 1, 'pq_difference': 0}
    return json.dumps({'weights': 'w', 'rows': [{**row, **changes}]})


@pytest.mark.parametrize(
    'text',
    [
        *('', '[]', '{}', 'null', '{"weights": "w", "rows": [3]}', '{"weights": "w", "rows": {}}'),
        *('[' * 100_000, ' ' * (1 << 20) + '{}', damaged(more=1), damaged(engine=['a'])),
        damaged(frames=3),
        *(damaged(equal_pixels='1'), damaged(equal_pixels=1.01), damaged(equal_pixels=True)),
        *(damaged(pq_difference=float('nan')), damaged(precision='int4'), damaged(isa='b' * 99)),
        '\udcff{"weights": 1}',
    ],
    ids=map(str, itertools.count()),
)
def test_a_damaged_file_is_one_warning_and_as_none(tmp_path, caplog, text):
    checkpoint = tmp_path / 'street.safetensors'
    agreement_file(checkpoint).write_bytes(text.encode(errors='surrogateescape'))
    assert read_agreement(checkpoint, 'w') == ()
    (record,) = caplog.records
    assert '\n' not in record.getMessage()
    assert 'is not used; pdl_ros bench agreement --keep' in record.getMessage()


# --- the choice is remembered ---------------------------------------------------------------------

TORCH, VINO, ORT = (Way(name, 'fp32') for name in RUNTIMES)
SECONDS = {TORCH: 0.006, VINO: 0.004, ORT: 0.08}


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
        def run(ways, make, images, expected, budget, hopeless):
            return fastest(ways, make, images, expected, 15.0, hopeless, lambda: bench.now)

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
        'scene_tiny runs on openvino fp32, 4.0 ms a frame of 64×96; torch fp32 6.0 ms; '
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
        {'seconds': {TORCH: 0.006, VINO: 0.004}},
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
    assert 'runs on onnxruntime fp32, 1.0 ms' in said and 'torch fp32 6.0 ms' in said
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


def test_a_first_start_makes_no_engine_ready_that_cannot_win(start):
    times = {INT8: 0.03, TORCH: 0.07, VINO: 0.04, ORT: 0.05}
    made, (_, said) = start(times, building=8.0)  # nor is it left for the next start
    assert made == [INT8, TORCH]
    why = 'torch fp32 takes 2.3 times as long as openvino int8'
    assert f'not openvino fp32: {why}; not onnxruntime fp32: {why}; found in' in said
    assert start({**times, TORCH: 0.055}, size=(32, 64))[0] == [INT8, TORCH, VINO, ORT]


def test_what_was_chosen_but_now_fails_is_replaced_with_a_word(start):
    start()
    made, said = start({**SECONDS, VINO: RuntimeError('its library was removed')})
    assert made == [VINO, TORCH, VINO, ORT]
    assert 'fails: RuntimeError: its library was removed' in said[0]
    assert 'runs on torch fp32' in said[-1]


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
