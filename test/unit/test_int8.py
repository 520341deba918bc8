"""int8 on CPUs: the file belongs to its weights, overflows nowhere, and keeps the labels."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pdl_ros import engines, preprocessing, sources
from pdl_ros.bench import agreement as bench_agreement
from pdl_ros.bench import machine
from pdl_ros.cli.export import openvino, spread, tensorrt
from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines import EngineSettings, agreement, factory, tensorrt_plans
from pdl_ros.engines.agreement import Agreement, keep_agreement, read_agreement
from pdl_ros.engines.calibration import CPU, Calibration, Layer
from pdl_ros.engines.factory import open_engine
from pdl_ros.engines.onnx_engine import OnnxEngine
from pdl_ros.engines.onnx_sessions import run_onnxruntime
from pdl_ros.engines.quantised import note_facts, quantised_file, read_quantised
from pdl_ros.engines.sensitivity import Sensitivity, measure_sensitivity, narrow
from pdl_ros.engines.tensorrt_plans import onnx_model, weights_digest
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import quantisation
from pdl_ros.evaluation.quantisation import EqualPixels, Quantised, quantise_network
from pdl_ros.imaging.files import list_images, read_rgb
from pdl_ros.network import checkpoints
from pdl_ros.network.weight_files import SHIPPED, find_weights
from pdl_ros.preprocessing import Preprocessor
from pdl_ros.runtime.cpu_features import X86
from pdl_ros.sources import Source

INT8 = sorted(path.name.partition('.')[0] for path in SHIPPED.glob('*.int8.onnx'))
SIZE = (96, 160)


def scenes(count: int, first: int) -> list[np.ndarray]:
    streets = SceneDataset(count, *SIZE, first_seed=first)
    return [streets[i].image for i in range(count)]


@cache
def tiny():
    return checkpoints.load('scene_tiny')


@cache
def calibration() -> Calibration:
    network, variant = tiny()
    prepare = Preprocessor(variant, torch.device('cpu'))
    images = [prepare(frame, SIZE) for frame in scenes(2, first=0)]
    return Calibration(onnx_model(network, variant, 'fp32'), images, CPU)


@cache
def all_in_int8() -> bytes:
    return calibration().quantised([layer.name for layer in calibration().layers])


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', INT8)
def test_a_shipped_int8_file_is_of_its_weights_and_every_x86_robot_takes_it_or_none(
    name, monkeypatch
):
    checkpoint = find_weights(name)
    weights = weights_digest(checkpoints.load(checkpoint)[0])
    model = read_quantised(checkpoint, weights)
    assert model is not None
    onnx.checker.check_model(onnx.load_from_string(model))
    rows = read_agreement(checkpoint, weights)
    measured = [row for row in rows if (row.engine, row.precision) == ('openvino', 'int8')]
    assert measured
    for isa in ('avx2', 'avx2_vnni', 'avx512', 'avx512_vnni', 'avx512_bf16', 'amx'):
        monkeypatch.setattr(agreement, 'instruction_set', lambda engine, isa=isa: isa)
        refused = agreement.disagreement('openvino', 'int8', rows)
        assert (refused == '') == all(row.meets_mark for row in measured), (isa, refused)


def test_a_file_of_other_weights_a_damaged_and_a_pointing_one_are_not_used(tmp_path, caplog):
    checkpoint = tmp_path / 'ours.safetensors'
    path = quantised_file(checkpoint)
    assert (path.name, read_quantised(checkpoint, 'ours')) == ('ours.int8.onnx', None)
    good = note_facts(all_in_int8(), 'ours', {'precision': 'int8'})
    path.write_bytes(good)
    assert read_quantised(checkpoint, 'ours') == good
    assert not caplog.records

    outside = onnx.load_from_string(good)
    tensor = outside.graph.initializer[0]
    tensor.ClearField('raw_data')
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='/etc/passwd')
    for content, asked, says in (
        (good, 'others', 'was made of other weights'),
        (good[: len(good) // 2], 'ours', 'is damaged'),
        (outside.SerializeToString(), 'ours', 'names other files to be read'),
    ):
        caplog.clear()
        path.write_bytes(content)
        assert read_quantised(checkpoint, asked) is None
        (record,) = caplog.records
        assert record.getMessage().startswith(f'{path} {says} and is not used; ')


@pytest.mark.parametrize('engine', ['openvino', 'onnxruntime'])
def test_an_engine_runs_the_int8_file_beside_the_checkpoint(tmp_path, engine):
    pytest.importorskip(engine, reason=f'needs {engine}')
    network, variant = tiny()
    checkpoint = tmp_path / 'ours.safetensors'
    device, settings = torch.device('cpu'), EngineSettings(engine, 'int8', checkpoint=checkpoint)
    with pytest.raises(PdlError, match='have no usable int8 file beside them'):
        open_engine(network, variant, device, settings)
    model = note_facts(all_in_int8(), weights_digest(network), {})
    quantised_file(checkpoint).write_bytes(model)
    opened = open_engine(network, variant, device, settings)
    assert (opened.name, opened.precision) == (engine, 'int8')
    equal = EqualPixels(network, variant, scenes(3, first=50))
    assert np.mean(equal(opened)) > 0.95  # with nothing kept in fp32
    opened.release()


def test_openvinos_int8_network_out_of_the_cache_gives_the_same_heads(tmp_path, monkeypatch):
    pytest.importorskip('openvino', reason='needs openvino')
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path))
    images, heads = torch.randn(1, 3, *SIZE), []
    for _ in range(2):
        engine = OnnxEngine(*tiny(), torch.device('cpu'), 'int8', 'openvino', all_in_int8())
        engine.keep_compiled()
        heads.append([head.clone() for head in engine(images)[:3]])
    (kept,) = tmp_path.glob('scene_tiny-int8-openvino-*')
    assert kept.stat().st_size > 10_000
    assert all(map(torch.equal, *heads))


# --- its numbers ----------------------------------------------------------------------------------


def test_no_two_products_overflow_16_bits_on_a_processor_without_vnni():
    """Kernels for AVX2 add two products of neighbours, of activations up to 255, in 16 bits."""
    proto = onnx.load_from_string(all_in_int8())
    made = {name: node for node in proto.graph.node for name in node.output}
    values = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
    seen = 0
    for node in proto.graph.node:
        if node.op_type != 'Conv':
            continue
        weights = values[made[node.input[1]].input[0]].astype(int)
        assert np.abs(weights).max() <= 127
        if weights.shape[1] == 1:
            continue  # depthwise: a product a channel
        seen += 1
        for layout in (weights, weights.transpose(0, 2, 3, 1)):
            flat = layout.reshape(len(weights), -1)
            flat = np.pad(flat, ((0, 0), (0, flat.shape[1] % 2)))
            for sign in (1, -1):
                pairs = np.maximum(sign * flat, 0)
                assert 255 * (pairs[:, ::2] + pairs[:, 1::2]).max() < 2**15
    assert seen > 20


def test_only_convolutions_read_rounded_values():
    proto = onnx.load_from_string(all_in_int8())
    rounded = {n.output[0] for n in proto.graph.node if n.op_type == 'DequantizeLinear'}
    readers = {n.op_type for n in proto.graph.node if rounded & set(n.input)}
    assert readers == {'Conv'}


def test_a_layer_that_is_not_named_stays_as_it_was():
    proto = onnx.load_from_string(calibration().quantised([calibration().layers[3].name]))
    rounded = {n.output[0] for n in proto.graph.node if n.op_type == 'DequantizeLinear'}
    convolutions = [n for n in proto.graph.node if n.op_type == 'Conv']
    assert [rounded.issuperset(n.input[:2]) for n in convolutions].count(True) == 1
    assert sum(bool(rounded & set(n.input)) for n in convolutions) == 1


def test_the_bias_takes_up_what_the_rounding_of_weights_moves(monkeypatch):
    """The mean of each head is nearer to that of fp32 than without."""
    network, variant = tiny()
    prepare = Preprocessor(variant, torch.device('cpu'))
    images = [prepare(frame, SIZE) for frame in scenes(3, first=0)]
    exact = run_onnxruntime(onnx_model(network, variant, 'fp32'))
    corrected = run_onnxruntime(all_in_int8())
    monkeypatch.setattr(Calibration, '_correct_biases', lambda *_: None)
    plain = run_onnxruntime(calibration().quantised([x.name for x in calibration().layers]))

    def moved(run) -> float:
        lost = 0.0
        for image in images:
            for ours, theirs in zip(run(image), exact(image), strict=True):
                lost += float((ours - theirs).mean((0, 2, 3)).norm() / theirs.norm())
        return lost

    assert moved(corrected) < moved(plain)


# --- which layers stay wide -----------------------------------------------------------------------


def layer(name: str, work: float) -> Layer:
    return Layer(name, work, False, 9)


class Names:
    """A calibration whose networks are the names of their int8 layers."""

    def quantised(self, layers) -> bytes:
        return ' '.join(sorted(layers)).encode()


def test_what_hurts_most_for_its_work_stays_wide_until_the_mark_is_met():
    measured = [
        Sensitivity(layer('cheap and bad', 1), 8.0),
        Sensitivity(layer('dear and bad', 100), 7.0),
        Sensitivity(layer('good', 10), 0.1),
    ]

    def judge(model: bytes) -> list[float]:
        return [0.9 if b'cheap' in model else 0.999] * 3

    found = narrow(Names(), measured, 0.995, judge, lambda *_: None)
    assert found.wide == ('cheap and bad',)
    assert found.model == b'dear and bad good'
    assert found.equal_pixels == pytest.approx(0.999)


def test_where_nothing_meets_the_mark_the_best_is_returned():
    measured = [Sensitivity(layer(name, 1), 1.0) for name in 'abc']
    found = narrow(Names(), measured, 0.999, lambda m: [0.9 - 0.1 * len(m)], lambda *_: None)
    assert found.equal_pixels == pytest.approx(0.9 - 0.1 * len(found.model))
    assert len(found.wide) > 1


def test_a_layer_is_as_sensitive_as_the_heads_move_when_it_alone_is_rounded():
    whole = calibration()
    few = Calibration.__new__(Calibration)
    few.__dict__.update(whole.__dict__)
    few.layers = [whole.layers[0], whole.layers[-1]]
    _, variant = tiny()
    images = [Preprocessor(variant, torch.device('cpu'))(scenes(1, first=7)[0], SIZE)]
    told = []
    found = measure_sensitivity(few, images, lambda *said: told.append(said[1:]))
    assert [s.layer for s in found] == few.layers
    assert all(0 < s.error < 1 for s in found)
    assert told == [(0, 2), (1, 2)]
    again = measure_sensitivity(few, images, lambda *_: None)
    assert again == found  # the same file every time


def test_quantising_keeps_apart_frames_to_calibrate_to_choose_and_to_tell(monkeypatch):
    network, variant = tiny()
    monkeypatch.setattr(
        quantisation,
        'measure_sensitivity',
        lambda calibration, *_: [Sensitivity(one, 1e-6) for one in calibration.layers],
    )
    monkeypatch.setattr(quantisation, 'LEAST_EQUAL_PIXELS', 0.0)  # one step of the search
    frames = scenes(6, first=0)
    found = quantise_network(network, variant, frames, lambda *_: None)
    assert all(np.array_equal(a, b) for a, b in zip(found.held_out, frames[2::3], strict=True))
    noted = {e.key: e.value for e in onnx.load_from_string(found.model).metadata_props}
    assert noted['weights'] == weights_digest(network)
    assert noted['calibration'].startswith('2 frames')
    with pytest.raises(PdlError, match=r'at least 3 frames .* and there are 2; give more'):
        quantise_network(network, variant, frames[:2], lambda *_: None)


def recording(length: int | None) -> Source:
    """Frames that show their number, without end where there is no length."""
    numbers = itertools.count() if length is None else range(length)
    return Source('drive', 10, length, lambda: (np.full((1, 1, 3), i) for i in numbers))


@pytest.mark.parametrize('length', [1, 95, 96, 97, 190, 191, 192, 1000])
def test_frames_to_calibrate_with_are_spread_over_a_whole_recording(length):
    numbers = [int(frame[0, 0, 0]) for frame in spread(recording(length), 96)]
    assert len(numbers) == min(length, 96)
    gaps = np.diff([*numbers, length])
    assert numbers[0] == 0 and gaps.max() - gaps.min() <= 1


def test_a_stream_without_end_gives_its_first_frames():
    assert [int(frame[0, 0, 0]) for frame in spread(recording(None), 3)] == [0, 1, 2]


def test_tensorrt_is_calibrated_on_the_whole_of_a_drive(monkeypatch):
    seen: list[int] = []

    def opened(network, variant, device, precision, shapes, stop, calibration):
        seen.extend(int(image[0, 0, 0, 0]) for image in calibration)
        return Mock()

    monkeypatch.setattr(engines, 'pick_device', torch.device)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(250))
    monkeypatch.setattr(tensorrt_plans, 'open_tensorrt', opened)
    monkeypatch.setattr(preprocessing, 'Preprocessor', lambda *_: lambda frame, size: frame[None])
    tensorrt('scene_tiny', 'int8', None, None, 1, 'drive.mcap', 'cuda')
    assert len(seen) == 100 and seen[-1] == 247


def test_data_that_are_not_there_are_missed_before_the_minutes_of_quantising(monkeypatch, tmp_path):
    monkeypatch.setattr(quantisation, 'quantise_network', None)
    with pytest.raises(PdlError, match=r'No folder .*nosuch'):
        openvino('scene_tiny', str(Path(__file__).parent), 'int8', tmp_path / 'nosuch', None)


def test_labels_that_do_not_fit_are_missed_before_the_minutes_of_quantising(monkeypatch, tmp_path):
    monkeypatch.setattr(quantisation, 'quantise_network', None)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(3))
    for kind in ('images', 'panoptic'):
        (tmp_path / kind / 'val').mkdir(parents=True)
        two_things = np.array([[1, 2]], np.uint16)  # of class 0
        assert cv2.imwrite(str(tmp_path / kind / 'val' / 'a.png'), two_things)
    with pytest.raises(PdlError, match='2 things of class 0 apart, which is stuff'):
        openvino('scene_tiny', 'drive.mcap', 'int8', tmp_path, tmp_path / 'new.onnx')


# --- a new file in the place of an older one ------------------------------------------------------

BF16 = Agreement('torch', 'bf16', 'amx', 0.98, None)
OLDER = [
    Agreement(engine, 'int8', isa, 1.0, None)
    for engine, isa in itertools.product(('openvino', 'onnxruntime'), X86)
]


@pytest.fixture
def checkpoint(monkeypatch, tmp_path) -> Path:
    """A checkpoint whose int8 file met the mark everywhere; to make another one takes no time."""
    path = tmp_path / 'ours.safetensors'
    shutil.copy(find_weights('scene_tiny'), path)
    weights = weights_digest(tiny()[0])
    keep_agreement(path, weights, [BF16, *OLDER])
    quantised_file(path).write_bytes(b'the older one')
    made = Quantised(note_facts(all_in_int8(), weights, {}), 9, 0, tuple(scenes(2, first=60)))
    monkeypatch.setattr(quantisation, 'quantise_network', lambda *_: made)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(3))
    monkeypatch.setattr(machine, 'possible_engines', lambda names: names)
    return path


def rows_of(checkpoint: Path) -> set[Agreement]:
    return set(read_agreement(checkpoint, weights_digest(tiny()[0])))


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: object) -> Any:
        raise error

    return failing


def test_a_new_int8_file_is_not_trusted_by_what_the_older_one_gave_on_any_processor(
    checkpoint, monkeypatch, capsys
):
    """And a runtime that fails does not keep the other one from being measured."""

    def opened(network, variant, device, settings):
        if settings.engine == 'openvino':
            raise PdlError('It does not run here.')
        return open_engine(network, variant, device, settings)

    monkeypatch.setattr(factory, 'open_engine', opened)
    openvino(str(checkpoint), 'drive.mcap', 'int8', None, None)
    (measured,) = rows_of(checkpoint) - {BF16}
    assert BF16 in rows_of(checkpoint) and measured not in OLDER
    assert (measured.engine, measured.precision) == ('onnxruntime', 'int8')
    assert measured.frames == '2 frames of drive.mcap'
    said = capsys.readouterr().out
    assert 'openvino int8: not compared: It does not run here.' in said
    assert 'onnxruntime int8 on ' in said


@pytest.mark.parametrize('error', [KeyboardInterrupt(), PdlError('Its labels are damaged.')])
@pytest.mark.parametrize('out', [None, 'link.onnx'], ids=['beside', 'by another name'])
def test_who_interrupts_the_measuring_has_an_int8_file_that_auto_does_not_take(
    checkpoint, monkeypatch, error, out
):
    if out is not None:
        out = checkpoint.with_name(out)
        out.symlink_to(quantised_file(checkpoint))
    monkeypatch.setattr(bench_agreement, 'bench_agreement', fail(error))
    with pytest.raises(type(error)):
        openvino(str(checkpoint), 'drive.mcap', 'int8', Path('scene'), out)
    assert read_quantised(checkpoint, weights_digest(tiny()[0]))
    assert rows_of(checkpoint) == {BF16}


def test_what_ends_before_the_new_int8_file_leaves_the_older_one_and_what_it_gave(
    checkpoint, monkeypatch
):
    monkeypatch.setattr(quantisation, 'quantise_network', fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        openvino(str(checkpoint), 'drive.mcap', 'int8', None, None)
    assert quantised_file(checkpoint).read_bytes() == b'the older one'
    assert rows_of(checkpoint) == {BF16, *OLDER}


# --- real streets ---------------------------------------------------------------------------------


@pytest.mark.parametrize('name', INT8)
def test_real_streets_keep_their_labels_where_int8_is_said_to_agree(name: str, camvid: Path):
    """On every twelfth image; the mark itself is of all (docs/engines.md)."""
    checkpoint = find_weights(name)
    network, variant = checkpoints.load(checkpoint)
    rows = read_agreement(checkpoint, weights_digest(network))
    engines = {row.engine for row in rows if row.precision == 'int8' and row.meets_mark}
    assert engines
    frames = [read_rgb(path) for path in list_images(camvid / 'images' / 'val')[::12]]
    equal = EqualPixels(network, variant, frames)
    for engine in engines:
        pytest.importorskip(engine, reason=f'needs {engine}')
        settings = EngineSettings(engine, 'int8', checkpoint=checkpoint)
        opened = open_engine(network, variant, torch.device('cpu'), settings)
        assert np.mean(equal(opened)) > 0.99
        opened.release()
