"""What a user asks for becomes an engine, or a sentence, or PyTorch with a warning."""

from __future__ import annotations

import logging

import pytest
import torch

from pdl_ros.engines import EngineSettings
from pdl_ros.engines.factory import open_engine
from pdl_ros.engines.torch_engine import auto_precision
from pdl_ros.errors import PdlError
from pdl_ros.network.variants import get_variant

from .test_network import network_of

CPU = torch.device('cpu')


def opened(**settings):
    return open_engine(network_of(), get_variant('scene_tiny'), CPU, EngineSettings(**settings))


def test_with_nothing_else_installed_auto_is_pytorch_in_the_precision_of_the_processor():
    engine = opened()
    assert (engine.name, engine.precision, engine.device) == ('torch', auto_precision(CPU), CPU)


@pytest.mark.parametrize('name', ['torch', 'openvino', 'onnxruntime', 'onnx'])
def test_every_engine_of_a_cpu_gives_the_heads_of_the_network(name):
    if name != 'torch':
        pytest.importorskip('onnxruntime' if name == 'onnx' else name, reason=f'needs {name}')
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network_of()(images)
    for ours, head in zip(
        opened(engine=name, precision='fp32')(images)[:3], expected, strict=False
    ):
        torch.testing.assert_close(ours, head, rtol=0, atol=1e-4 * float(head.abs().max()))


def test_an_engine_that_cannot_be_had_is_one_sentence(caplog):
    with pytest.raises(PdlError, match='CUDA') as error:
        opened(engine='tensorrt')
    assert '\n' not in str(error.value)
    assert not caplog.records


def test_with_fallback_the_robot_drives_on_pytorch_and_is_told_why(caplog):
    with caplog.at_level(logging.WARNING, 'pdl_ros.engines'):
        engine = opened(engine='tensorrt', fallback=True)
    assert engine.name == 'torch'
    (record,) = caplog.records
    assert 'CUDA' in record.getMessage()
    assert record.getMessage().endswith('Running on PyTorch instead.')


@pytest.mark.parametrize('wrong', [{'engine': 'caffe'}, {'precision': 'fp8'}])
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(wrong):
    with pytest.raises(PdlError, match=r'(torch|fp32) or'):
        EngineSettings(**wrong)
