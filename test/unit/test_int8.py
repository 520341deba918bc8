"""int8 on CPUs: the file belongs to its weights, overflows nowhere, and keeps the labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines import EngineSettings, agreement
from pdl_ros.engines.agreement import read_agreement
from pdl_ros.engines.calibration import CPU, Calibration
from pdl_ros.engines.factory import open_engine
from pdl_ros.engines.onnx_engine import OnnxEngine
from pdl_ros.engines.onnx_sessions import run_onnxruntime
from pdl_ros.engines.quantised import note_facts, quantised_file, read_quantised
from pdl_ros.engines.tensorrt_plans import onnx_model, weights_digest
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.quantisation import EqualPixels
from pdl_ros.imaging.files import list_images, read_rgb
from pdl_ros.network import checkpoints
from pdl_ros.network.weight_files import SHIPPED, find_weights
from pdl_ros.preprocessing import Preprocessor

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
    """Kernels for AVX2 add two products of neighbours, of activations up to 255, in 16 bits. They
    fill up the three channels of an image to an even number.
    """
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
        filled = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2), (0, 0), (0, 0)))
        for layout in (weights, weights.transpose(0, 2, 3, 1), filled.transpose(0, 2, 3, 1)):
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
