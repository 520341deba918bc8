"""What surrounds TensorRT works without it, and what talks to it speaks its language.

No GPU and no libnvinfer here: the real Python bindings (wheel tensorrt-cu12-bindings, where it is
installed) are imported over a library that has nothing but the names they ask for and refuses
everything, as a driver that is too old does.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from pdl_ros.engines import EngineSettings, factory
from pdl_ros.engines.tensorrt_plans import (
    _int8_model,
    image_shapes,
    load_or_build,
    model_facts,
    onnx_model,
    open_tensorrt,
)
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.errors import PdlError
from pdl_ros.network.variants import VARIANTS, get_variant
from pdl_ros.pipeline import Segmenter
from pdl_ros.preprocessing import network_size, padded_size
from pdl_ros.runtime import cache

from .test_network import network_of

TINY = get_variant('scene_tiny')
CPU, CUDA = torch.device('cpu'), torch.device('cuda')
ROOT = Path(__file__).parents[2]
SYMBOLS = (
    'createInferBuilder_INTERNAL',
    'createInferRefitter_INTERNAL',
    'createInferRuntime_INTERNAL',
    'createNvOnnxParserRefitter_INTERNAL',
    'createNvOnnxParser_INTERNAL',
    'getNvOnnxParserVersion',
    'getPluginRegistry',
    'getBuilderPluginRegistry',
    'initLibNvInferPlugins',
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


# --- without TensorRT -----------------------------------------------------------------------------


def test_without_a_gpu_it_is_one_sentence_that_names_other_engines():
    with pytest.raises(PdlError, match=r'^TensorRT needs a CUDA device.*engine torch or onnx\.$'):
        open_tensorrt(network_of(), TINY, CPU)


@pytest.mark.skipif(
    importlib.util.find_spec('tensorrt') is not None, reason='needs a machine without TensorRT'
)
def test_without_the_package_it_is_one_sentence_that_says_what_to_install():
    with pytest.raises(PdlError, match=r'pip install tensorrt-cu12 or tensorrt-cu13\.$'):
        open_tensorrt(network_of(), TINY, CUDA)


def test_a_package_that_does_not_load_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / 'tensorrt.py').write_text("raise ImportError('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PdlError, match=r'does not load: libnvinfer.so.10: cannot open\.$'):
        open_tensorrt(network_of(), TINY, CUDA)
    sys.modules.pop('tensorrt', None)


def test_bf16_is_refused_before_anything_else():
    with pytest.raises(PdlError, match='fp32, fp16 or int8 here, not bf16'):
        open_tensorrt(network_of(), TINY, CPU, 'bf16')


def test_with_the_extra_openvino_alone_fp16_is_one_sentence_that_pytorch_can_take_over_from(
    monkeypatch,
):
    """That extra brings onnx without onnxruntime."""
    for name in [name for name in sys.modules if name.partition('.')[0] == 'onnxruntime']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)  # as if it were not installed
    with pytest.raises(PdlError, match=r'package onnxruntime; .*pdl_ros\[export\]'):
        onnx_model(network_of(), TINY, 'fp16')


@pytest.mark.parametrize('variant', VARIANTS.values(), ids=VARIANTS)
def test_the_engine_takes_what_every_usual_camera_gives_upright_or_not(variant):
    low, usual, high = image_shapes(variant)
    for height, width in ((480, 640), (640, 480), (1080, 1920), (1920, 1080), (1024, 2048)):
        size = padded_size(network_size(height, width, variant), variant)
        assert all(a <= edge <= b for a, edge, b in zip(low[2:], size, high[2:], strict=True))
    assert all(a <= b <= c for a, b, c in zip(low, usual, high, strict=True))


def test_an_engine_for_one_size_has_room_for_a_batch():
    assert image_shapes(TINY, (160, 256), 3) == (
        (1, 3, 160, 256),
        (1, 3, 160, 256),
        (3, 3, 160, 256),
    )


@pytest.mark.parametrize('size', [(480, 640), (1080, 1920), (720, 1280)])
def test_a_segmenter_asks_for_what_the_export_of_its_cameras_size_built(size, monkeypatch):
    camvid = get_variant('camvid_efficientnet_lite0')
    height, width = padded_size(network_size(*size, camvid), camvid)
    asked: list = []

    def opened(*arguments, instead) -> TorchEngine:
        asked.extend([*instead, arguments[4]])
        return engine()

    monkeypatch.setattr(factory, 'open_tensorrt', opened)
    network = network_of(camvid)
    Segmenter(network, camvid, 'cpu', None, EngineSettings('tensorrt', frame_size=size, batch=2))
    exported = image_shapes(camvid, (height, width), 2)  # export tensorrt --height --width --batch
    assert asked == [exported, image_shapes(camvid, None, 2)]


def test_an_engine_for_the_cameras_size_is_taken_before_the_one_for_all_and_never_built():
    sized, general = ({'what': 'x', 'shapes': name} for name in ('sized', 'general'))
    loaded: list[bytes] = []

    def load(plan: bytes) -> TorchEngine:
        loaded.append(plan)
        return engine()

    load_or_build([sized, general], load, lambda: b'general plan')
    cache.store(sized, b'sized plan')
    load_or_build([sized, general], load, lambda: pytest.fail('built'))
    cache.cache_file(sized).unlink()
    load_or_build([sized, general], load, lambda: pytest.fail('built'))
    assert loaded == [b'general plan', b'sized plan', b'general plan']


def engine() -> TorchEngine:
    return TorchEngine(network_of(), CPU)


def test_a_second_start_does_not_build():
    facts, built = {'what': 'x'}, []

    def build() -> bytes:
        built.append(1)
        return b'plan'

    loaded = [load_or_build([facts], lambda plan: (plan, engine())[1], build) for _ in range(2)]
    assert len(built) == 1
    assert all(isinstance(e, TorchEngine) for e in loaded)


def test_a_corrupted_engine_file_is_rebuilt_and_said_in_one_sentence(caplog):
    facts = {'what': 'x'}
    load_or_build([facts], lambda plan: engine(), lambda: b'plan')
    path = cache.cache_file(facts)
    path.write_bytes(path.read_bytes()[:-1] + b'?')
    plans = []
    load_or_build([facts], lambda plan: plans.append(plan) or engine(), lambda: b'new')
    assert plans == [b'new']
    assert len(caplog.records) == 1
    assert cache.load(facts) == b'new'


def test_an_engine_that_tensorrt_refuses_is_rebuilt_and_said_in_one_sentence(caplog):
    facts = {'what': 'x'}
    cache.store(facts, b'old')

    def load(plan: bytes) -> TorchEngine:
        if plan == b'old':
            raise PdlError('TensorRT refuses the engine: version tag does not match.')
        return engine()

    assert load_or_build([facts], load, lambda: b'new').name == 'torch'
    (record,) = caplog.records
    assert 'is built anew: TensorRT refuses the engine' in record.getMessage()
    assert cache.load(facts) == b'new'


def test_an_engine_for_which_memory_is_short_is_not_built_again_for_minutes():
    facts = {'what': 'x'}
    cache.store(facts, b'plan')

    def load(plan: bytes) -> TorchEngine:
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    with pytest.raises(torch.cuda.OutOfMemoryError):
        load_or_build([facts], load, lambda: pytest.fail('built'))


def test_with_a_cache_that_cannot_be_written_the_engine_runs_from_memory(folder, caplog):
    folder.write_text('a file')
    assert load_or_build([{'what': 'x'}], lambda plan: engine(), lambda: b'plan').name == 'torch'
    assert 'cannot be written' in caplog.records[-1].getMessage()


def test_other_weights_another_precision_or_another_network_is_another_engine():
    network = network_of()
    facts = model_facts(network, TINY, 'fp16')
    other = network_of()
    other.offset_head.predictor.weight.data[0, 0] += 1
    assert model_facts(other, TINY, 'fp16')['weights'] != facts['weights']
    assert model_facts(network, TINY, 'fp32') != facts
    elsewhere = model_facts(network, get_variant('camvid_efficientnet_lite0'), 'fp16')
    assert elsewhere['variant'] != facts['variant']
    assert model_facts(network_of(), TINY, 'fp16') == facts


def test_int8_uses_the_calibration_of_its_own_weights_and_asks_for_one_where_there_is_none():
    network = network_of()
    facts = model_facts(network, TINY, 'int8')
    with pytest.raises(PdlError, match=r'--calibrate FOLDER for scene_tiny once\.$'):
        _int8_model(network, TINY, facts, None)
    made = _int8_model(network, TINY, facts, [torch.randn(1, 3, 32, 64)])
    assert _int8_model(network, TINY, facts, None) == made
    with pytest.raises(PdlError):
        _int8_model(network, TINY, {**facts, 'weights': 'other'}, None)


# --- the real bindings, without the library -------------------------------------------------------


@pytest.fixture(scope='module')
def bindings(tmp_path_factory) -> dict[str, str]:
    """The environment in which `import tensorrt` is the real bindings over an empty library."""
    found = importlib.util.find_spec('tensorrt_bindings')
    if found is None or found.origin is None:
        pytest.skip('needs tensorrt-cu12-bindings')
    compiler = shutil.which('cc')
    if compiler is None:
        pytest.skip('needs a C compiler')
    folder = tmp_path_factory.mktemp('tensorrt')
    # The wheel's folder has another name than the package that users import.
    (folder / 'tensorrt').symlink_to(Path(found.origin).parent)
    source = ''.join(f'void *{name}(void) {{ return 0; }}\n' for name in SYMBOLS)
    (folder / 'empty.c').write_text(source)
    for version in (10, 11):
        for name in ('nvinfer', 'nvonnxparser', 'nvinfer_plugin'):
            library = f'lib{name}.so.{version}'
            command = [compiler, '-shared', '-fPIC', f'-Wl,-soname,{library}', '-o', library]
            subprocess.run([*command, 'empty.c'], cwd=folder, check=True)
    path = os.pathsep.join([str(folder), str(ROOT), os.environ.get('PYTHONPATH', '')])
    libraries = os.pathsep.join([str(folder), os.environ.get('LD_LIBRARY_PATH', '')])
    return {**os.environ, 'LD_LIBRARY_PATH': libraries, 'PYTHONPATH': path, 'HERE': str(folder)}


def run(bindings: dict[str, str], script: str) -> str:
    command = [sys.executable, '-c', script]
    done = subprocess.run(command, env=bindings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_gpu_or_driver_that_tensorrt_cannot_use_is_one_sentence(bindings):
    said = run(
        bindings,
        """
import tensorrt, torch
from pdl_ros.engines import tensorrt_engine as engine
from pdl_ros.engines.progress import Progress
from pdl_ros.errors import PdlError
engine._logger.log(tensorrt.ILogger.Severity.ERROR, 'CUDA initialization failure\\nwith error: 35')
try:
    engine.build(b'', ((1, 3, 32, 32),) * 3, b'', Progress('x'))
except PdlError as error:
    print(error)
""",
    )
    assert said == (
        'TensorRT cannot use this GPU or driver: CUDA initialization failure with error: 35\n'
    )


def test_progress_and_the_wish_to_stop_pass_through_the_real_monitor(bindings):
    said = run(
        bindings,
        """
import threading
from pdl_ros.engines.progress import Progress
from pdl_ros.engines.tensorrt_engine import _Monitor
stop = threading.Event()
progress = Progress('x', stop)
monitor = _Monitor(progress)
monitor.phase_start('Tactics', None, 7)
print(monitor.step_complete('Tactics', 2), progress._phases)
stop.set()
print(monitor.step_complete('Tactics', 3))
monitor.phase_finish('Tactics')
print(progress._phases)
""",
    )
    assert said == "True {'Tactics': (3, 7)}\nFalse\n{}\n"


def test_no_precision_flag_or_calibrator_is_used_that_tensorrt_11_dropped():
    text = (ROOT / 'pdl_ros' / 'engines' / 'tensorrt_engine.py').read_text()
    for gone in ('BuilderFlag.FP16', 'BuilderFlag.INT8', 'Calibrator', 'EXPLICIT_BATCH'):
        assert gone not in text


# --- the whole, where there is a GPU --------------------------------------------------------------


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_tensorrt_gives_the_heads_of_pytorch(precision):
    pytest.importorskip('tensorrt')
    network, shapes = network_of(), image_shapes(TINY, (64, 96), 2)
    made = open_tensorrt(network, TINY, CUDA, precision, shapes, threading.Event())
    torch_engine = TorchEngine(network_of(), CUDA)
    for count in (1, 2, 1):
        images = torch.randn(count, 3, 64, 96, device=CUDA)
        for ours, theirs in zip(made(images)[:3], torch_engine(images)[:3], strict=True):
            share = 1e-2 if precision == 'fp32' else 0.3
            assert (ours - theirs).norm() < share * theirs.norm()
    with pytest.raises(PdlError, match='takes images from 1×3×64×96 to 2×3×64×96'):
        made(torch.randn(1, 3, 96, 64, device=CUDA))
