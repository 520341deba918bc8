"""Engine onnx: the same heads from OpenVINO and ONNX Runtime, and a sentence where it cannot."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from pdl_ros import errors
from pdl_ros.engines import EngineSettings, onnx_engine, onnx_sessions
from pdl_ros.engines.onnx_engine import OnnxEngine
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime import cache

from .test_network import network_of

TINY = get_variant('scene_tiny')
CPU = torch.device('cpu')
HAS_OPENVINO = importlib.util.find_spec('openvino') is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason='needs openvino')


def hide(monkeypatch, *packages: str) -> None:
    """Make packages look as if they were not installed."""
    find = importlib.util.find_spec
    for module in (onnx_engine, errors):
        monkeypatch.setattr(module, 'find_spec', lambda n: None if n in packages else find(n))


@pytest.fixture(params=['openvino', 'onnxruntime'])
def runtime(request, monkeypatch) -> str:
    if request.param == 'onnxruntime':
        hide(monkeypatch, 'openvino')
    elif not HAS_OPENVINO:
        pytest.skip('needs openvino')
    return request.param


def test_frames_of_changing_sizes_and_batches_get_the_heads_of_pytorch(runtime):
    engine = OnnxEngine(network_of(), TINY, CPU)
    assert (engine.name, engine.precision) == (runtime, 'fp32')
    expected = TorchEngine(network_of(), CPU)
    for shape in ((1, 3, 64, 96), (2, 3, 97, 65), (1, 3, 64, 96), (3, 3, 32, 160)):
        images = torch.randn(shape).to(memory_format=torch.channels_last)
        found = engine(images)
        for ours, theirs in zip(found[:3], expected(images)[:3], strict=True):
            assert ours.dtype == torch.float32 and ours.device == CPU
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * float(theirs.max()))
        assert found.stride == 4


def test_the_shipped_network_gives_the_label_maps_of_pytorch(runtime):
    frame = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8).repeat(20, 0)
    frame = np.ascontiguousarray(frame.repeat(20, 1))
    segmenter = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))
    expected = segmenter(frame)
    segmenter.engine = OnnxEngine(*checkpoints.load('scene_tiny'), CPU)
    found = segmenter(frame)
    assert (expected.panoptic == found.panoptic).float().mean() > 0.999
    assert len(torch.as_tensor(expected.semantic).unique()) > 1


@pytest.fixture
def compiled(monkeypatch, tmp_path) -> list[str]:
    """Begin with an empty cache; return what OpenVINO is asked to do from here on."""
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path))
    core, asked = onnx_sessions.openvino_core(), []

    class Core:
        def __getattr__(self, name: str):
            asked.append(name)
            return getattr(core, name)

    monkeypatch.setattr(onnx_sessions, 'openvino_core', Core)
    return asked


def heads_of(images: torch.Tensor, network: torch.nn.Module, precision: str = 'fp32') -> list:
    engine = OnnxEngine(network, TINY, CPU, precision)
    engine.keep_compiled()
    return [head.clone() for head in engine(images)[:3]]


@needs_openvino
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_later_start_of_openvino_compiles_nothing_and_gives_the_same_heads(compiled, precision):
    if precision not in onnx_engine._openvino_precisions():
        pytest.skip('needs bf16 instructions')
    images, network = torch.randn(1, 3, 64, 96), network_of()
    first = heads_of(images, network, precision)
    assert 'compile_model' in compiled
    compiled.clear()
    again = heads_of(images, network, precision)
    assert compiled == ['import_model']
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, again, strict=True))


@needs_openvino
def test_the_cache_keeps_the_last_few_weights_and_those_of_two_nodes_at_once(compiled, tmp_path):
    images, network = torch.randn(1, 3, 64, 96), network_of()
    first = heads_of(images, network)
    for _ in range(6):
        with torch.no_grad():
            network.offset_head.predictor.weight.mul_(2)
        heads_of(images, network)
    compiled.clear()
    last = heads_of(images, network)
    with torch.no_grad():
        network.offset_head.predictor.weight.div_(2)  # the other node's
    heads_of(images, network)
    assert compiled == ['import_model'] * 2
    assert not torch.equal(first[2], last[2])
    assert len(list(tmp_path.glob('*-openvino-*'))) == 4


@needs_openvino
def test_engines_that_are_only_timed_leave_nothing_in_the_cache(compiled, tmp_path):
    OnnxEngine(network_of(), TINY, CPU).release()
    assert not list(tmp_path.glob('*-openvino-*'))


@needs_openvino
def test_what_openvino_cannot_read_back_is_compiled_at_each_start_with_one_warning(
    compiled, caplog, monkeypatch
):
    images, network = torch.randn(1, 3, 64, 96), network_of()
    first, load = heads_of(images, network), cache.load

    def damaged(facts):
        content = load(facts)
        return b'rubbish' if content and 'openvino' in facts else content

    monkeypatch.setattr(cache, 'load', damaged)
    monkeypatch.setattr(onnx_sessions, '_exported', lambda *_: b'')  # as of an older OpenVINO
    again = heads_of(images, network)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first, again, strict=True))
    assert 'OpenVINO compiles scene_tiny-fp32 anew' in caplog.text
    assert '\n' not in caplog.messages[-1]
    caplog.clear()
    compiled.clear()
    heads_of(images, network)
    assert sorted(compiled) == ['compile_model', 'read_model'] and not caplog.messages


@needs_openvino
def test_bf16_is_run_where_it_is_asked_for_and_stays_near():
    if 'bf16' not in onnx_engine._openvino_precisions():
        pytest.skip('needs bf16 instructions')
    network, variant = checkpoints.load('scene_tiny')
    engine, images = OnnxEngine(network, variant, CPU, 'bf16'), torch.randn(1, 3, 96, 160)
    with torch.inference_mode():
        exact = network(images).semantic
    error = float((engine(images).semantic - exact).abs().max() / exact.abs().max())
    assert engine.precision == 'bf16'
    assert 1e-4 < error < 0.2


@needs_openvino
def test_a_precision_it_has_not_is_one_sentence_before_any_work():
    with pytest.raises(PdlError, match=r"openvino has no precision 'fp16' on this cpu; use fp32"):
        OnnxEngine(None, TINY, CPU, 'fp16')  # type: ignore[arg-type]


@needs_openvino
def test_int8_of_weights_that_have_no_file_says_so_and_how_to_make_it():
    with pytest.raises(
        PdlError, match=r'scene_tiny have no usable int8 file .* use precision fp32'
    ):
        OnnxEngine(None, TINY, CPU, 'int8')  # type: ignore[arg-type]


@needs_openvino
def test_int8_without_the_package_onnx_says_what_to_install(monkeypatch):
    hide(monkeypatch, 'onnx')  # the file may lie there, unread
    with pytest.raises(PdlError, match=r'pip install .*pdl_ros\[export\]'):
        OnnxEngine(None, TINY, CPU, 'int8')  # type: ignore[arg-type]


def test_bf16_without_openvino_is_one_sentence(monkeypatch):
    hide(monkeypatch, 'openvino')
    with pytest.raises(PdlError, match=r"onnxruntime has no precision 'bf16' on this cpu"):
        OnnxEngine(network_of(), TINY, CPU, 'bf16')


@pytest.mark.parametrize(('missing', 'extra'), [('onnx', 'export'), ('onnxruntime', 'export')])
def test_a_missing_package_is_named_with_its_extra(missing, extra, monkeypatch):
    hide(monkeypatch, 'openvino', missing)
    with pytest.raises(PdlError, match=rf"package {missing}; .*pip install 'pdl_ros\[{extra}\]'"):
        OnnxEngine(network_of(), TINY, CPU)


def test_a_gpu_that_onnx_runtime_cannot_use_is_one_sentence():
    with pytest.raises(PdlError, match='this ONNX Runtime has no CUDA; install onnxruntime-gpu'):
        OnnxEngine(network_of(), TINY, torch.device('cuda:0'))


def test_what_a_processor_lacks_is_one_sentence_when_the_engine_is_made(runtime, monkeypatch):
    def fails(*_):
        raise RuntimeError('No kernel for this\nat some line')

    for at_once in (True, False):
        later = (fails, None) if runtime == 'openvino' else fails
        made = fails if at_once else lambda *_, later=later: later
        monkeypatch.setattr(onnx_engine, f'run_{runtime}', made)
        said = rf'Engine {runtime} in fp32 does not run .* No kernel for this\); use engine torch'
        with pytest.raises(PdlError, match=said):
            OnnxEngine(network_of(), TINY, CPU)


def test_release_gives_the_runtime_back(runtime):
    engine = OnnxEngine(network_of(), TINY, CPU)
    engine.release()
    with pytest.raises(AttributeError):
        engine(torch.randn(1, 3, 32, 32))


def test_a_robot_without_network_opens_no_connection():
    code = """
import sys
def watch(event, arguments):
    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):
        sys.exit(f'{event} {arguments}')
sys.addaudithook(watch)
import torch
from pdl_ros.engines import EngineSettings, onnx_engine
from pdl_ros.network import checkpoints
for _ in range(2):
    engine = onnx_engine.OnnxEngine(*checkpoints.load('scene_tiny'), torch.device('cpu'))
    engine(torch.zeros(1, 3, 32, 32))
    print(engine.name)
    onnx_engine.find_spec = lambda name: None
"""
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 'onnxruntime' in done.stdout


INTERRUPTED = """
import faulthandler, gc, os, signal, threading
faulthandler.enable()
from pdl_ros.engines import EngineSettings
from pdl_ros.pipeline import Segmenter
made = [Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('openvino', 'fp32'))]
thread = threading.Thread(target=made.clear)
thread.start()
thread.join()
gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print('interrupted')
"""


@needs_openvino
def test_control_c_after_an_engine_was_given_up_in_another_thread_is_no_segmentation_fault():
    asked = subprocess.run([sys.executable, '-c', INTERRUPTED], capture_output=True, text=True)
    assert (asked.returncode, asked.stdout) == (0, 'interrupted\n'), asked.stderr
