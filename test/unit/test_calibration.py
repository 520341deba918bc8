"""A network in fewer bits gives the labels of the whole one, and TensorRT finds what it needs."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from pdl_ros.demo.scene import SceneDataset
from pdl_ros.engines.calibration import halve, quantise
from pdl_ros.engines.tensorrt_plans import onnx_model
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.variants import get_variant
from pdl_ros.preprocessing import Preprocessor

from .test_network import network_of

TINY = get_variant('scene_tiny')
SIZE = (160, 256)


@cache
def model(precision: str) -> bytes:
    network, variant = checkpoints.load('scene_tiny')
    if precision == 'int8':
        return quantise(model('fp32'), images(4, first=0))
    return onnx_model(network, variant, precision)


def images(count: int, first: int) -> list[torch.Tensor]:
    preprocess = Preprocessor(TINY, torch.device('cpu'))
    scenes = SceneDataset(count, *SIZE, first_seed=first)
    return [preprocess(scenes[i].image, SIZE) for i in range(count)]


def heads(data: bytes, batch: torch.Tensor) -> HeadOutputs:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    # As written: ONNX Runtime's own fusion of int8 with fp16 scales on a CPU gives other values.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    assert [i.type for i in (*session.get_inputs(), *session.get_outputs())] == [
        'tensor(float)'
    ] * 4
    outputs = session.run(None, {'images': batch.numpy()})
    return HeadOutputs(*map(torch.from_numpy, outputs), 4)


def test_fp16_weights_are_half_the_file_and_no_convolution_runs_in_fp32():
    assert len(model('fp16')) < 0.55 * len(model('fp32'))
    whole = onnx.shape_inference.infer_shapes(onnx.load_from_string(model('fp16')))
    types = {v.name: v.type.tensor_type.elem_type for v in whole.graph.value_info}
    outputs = [n.output[0] for n in whole.graph.node if n.op_type == 'Conv']
    assert {types.get(name, onnx.TensorProto.FLOAT16) for name in outputs} == {
        onnx.TensorProto.FLOAT16
    }


@pytest.mark.parametrize('name', ['cityscapes_r52', 'scene_tiny'])
@torch.inference_mode()
def test_fp16_is_right_at_every_size_of_image(name):
    """No further from fp32 than PyTorch with every layer's output rounded to fp16."""
    # r52 pools over windows, whose share in small images is computed by the file itself.
    variant = get_variant(name)
    network = network_of(variant)
    data = onnx_model(network, variant, 'fp16')
    batches = [
        torch.randn(shape, generator=torch.Generator().manual_seed(1))
        for shape in ((1, 3, 64, 96), (2, 3, 97, 65))
    ]
    wholes = [network(batch) for batch in batches]
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, inputs, output: output.half().float())
    for batch, whole in zip(batches, wholes, strict=True):
        rounded = network(batch)
        for half, other, exact in zip(heads(data, batch), rounded, whole, strict=True):
            if isinstance(exact, torch.Tensor):
                assert half.shape == exact.shape
                assert (half - exact).norm() < 2 * (other - exact).norm()


def test_int8_is_symmetric_per_channel_and_leaves_heads_and_depthwise_convolutions_alone():
    proto = onnx.load_from_string(model('int8'))
    onnx.checker.check_model(proto)
    assert proto.opset_import[0].version >= 19
    nodes = proto.graph.node
    makers = {name: node for node in nodes for name in node.output}
    values = {i.name: numpy_helper.to_array(i) for i in proto.graph.initializer}
    found = Counter()
    for node in nodes:
        if node.op_type in ('QuantizeLinear', 'DequantizeLinear'):
            assert not values[node.input[2]].any()  # symmetric
            assert values[node.input[2]].dtype == np.int8
        if node.op_type in ('Relu', 'Clip'):  # else TensorRT could not put it into the convolution
            assert makers[node.input[0]].op_type != 'DequantizeLinear'
        if node.op_type != 'Conv':
            continue
        sources = [makers.get(name) for name in node.input[:2]]
        quantised = [s is not None and s.op_type == 'DequantizeLinear' for s in sources]
        group = next((a.i for a in node.attribute if a.name == 'group'), 1)
        found[group > 1, all(quantised)] += 1
        if all(quantised):
            assert values[sources[1].input[1]].ndim == 1  # a scale for each channel
            assert len(node.input) < 3 or node.input[2] in values  # a float bias
        else:
            assert not quantised[1]
    assert found[True, True] == 0
    assert found[False, True] > 20
    for output in proto.graph.output:
        node = makers[output.name]
        while node.op_type != 'Conv':
            node = makers[node.input[0]]
        assert makers.get(node.input[0]).op_type != 'DequantizeLinear'


def test_the_ranges_come_from_the_images():
    bright = quantise(model('fp32'), [10 * batch for batch in images(1, first=0)])
    assert bright != quantise(model('fp32'), images(1, first=0))


def test_int8_without_images_is_refused():
    with pytest.raises(PdlError, match='no images to calibrate'):
        quantise(model('fp32'), [])


def test_the_calibrator_prints_nothing(capfd):
    quantise(model('fp32'), images(1, first=0))
    assert capfd.readouterr().out == ''


def test_values_beyond_fp16_do_not_become_infinite():
    network = network_of()
    network.offset_head.predictor.weight.data *= 1e-9  # would vanish
    batch = torch.randn(1, 3, 32, 64)
    for head in heads(halve(onnx_model(network, TINY, 'fp32')), batch)[:3]:
        assert head.isfinite().all()
