"""Which engines and precisions a start may take: what this CPU has, and what keeps the labels."""

from __future__ import annotations

import itertools
import json

import pytest

from pdl_ros.engines import candidates
from pdl_ros.engines.agreement import (
    Agreement,
    agreement_file,
    keep_agreement,
    read_agreement,
)
from pdl_ros.engines.candidates import RUNTIMES, Way, find_candidates
from pdl_ros.runtime import cpu_features

AMX = frozenset().union(*cpu_features.X86.values())
GOOD, FEW_PIXELS, LOW_PQ = (1.0, 0.0), (0.9949, 0.0), (0.999, -0.31)
INT8 = Way('openvino', 'int8')


@pytest.fixture(autouse=True)
def _all_engines(monkeypatch):
    """The engines that users have."""
    monkeypatch.setattr(candidates, 'RUNTIMES', RUNTIMES)


@pytest.fixture
def big_processor(monkeypatch):
    """An x86 processor that has everything, limited by the environment alone."""
    monkeypatch.setattr(cpu_features.platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(cpu_features, '_features', lambda: AMX)
    for name in ('ONEDNN_MAX_CPU_ISA', 'ATEN_CPU_CAPABILITY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('pdl_ros.engines.onnx_engine.find_spec', lambda name: name)


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
