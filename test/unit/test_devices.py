"""What is asked of a GPU happens on that one, whichever is the current one of a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch

from pdl_ros import pipeline
from pdl_ros.demo.scene import Scene
from pdl_ros.engines import EngineSettings, on_device, pick_device
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.fusion import fuse
from pdl_ros.pipeline import Segmenter

from .test_network import network_of

FRAME = Scene(3, 96, 160).frame(5).image


def test_a_device_without_a_number_is_the_first_one_for_all_threads(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert pick_device('auto') == pick_device('cuda') == torch.device('cuda', 0)
    assert pick_device('cuda:1') == torch.device('cuda', 1)


def test_on_a_cpu_no_device_is_made_current():
    with on_device(torch.device('cpu')) as nothing:
        assert nothing is None


def test_every_stage_of_a_frame_runs_while_the_segmenters_device_is_current(monkeypatch):
    segmenter = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))
    current: list[torch.device] = []
    stages: dict[str, list[torch.device]] = {}

    @contextlib.contextmanager
    def noted(device: torch.device) -> Iterator[None]:
        current.append(device)
        yield
        current.pop()

    def watched(name, function):
        def call(*arguments, **others):
            stages[name] = list(current)
            return function(*arguments, **others)

        return call

    monkeypatch.setattr(pipeline, 'on_device', noted)
    segmenter._fuse = watched('fusion', segmenter._fuse)
    segmenter._preprocess = watched('preprocess', segmenter._preprocess)
    segmenter.engine = Watched(segmenter.engine, stages, current)
    segmenter(FRAME)
    assert stages.keys() == {'preprocess', 'network', 'fusion'}
    assert all(devices == [segmenter.device] for devices in stages.values())
    assert current == []


class Watched:
    """An engine that notes which device is current when it is called."""

    def __init__(self, engine: TorchEngine, stages: dict, current: list) -> None:
        self.engine, self.stages, self.current = engine, stages, current
        self.device = engine.device

    def __call__(self, images: torch.Tensor):
        self.stages['network'] = list(self.current)
        return self.engine(images)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize(
    'engine', ['torch', 'onnx', pytest.param('tensorrt', marks=pytest.mark.slow)]
)
def test_the_last_gpu_gives_the_labels_of_the_cpu_and_leaves_the_first_alone(engine):
    """On a machine with one GPU the last is the first, and all else is tested the same."""
    if engine != 'torch':
        pytest.importorskip({'onnx': 'onnxruntime', 'tensorrt': 'tensorrt'}[engine])
    if engine == 'onnx':
        import onnxruntime

        if 'CUDAExecutionProvider' not in onnxruntime.get_available_providers():
            pytest.skip('needs onnxruntime-gpu')
    last = torch.cuda.device_count() - 1
    expected = Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))(FRAME)
    before = torch.cuda.memory_allocated(0)
    found, failures = [], []

    def drive() -> None:  # as the node's worker does: in a thread whose current device is the first
        try:
            segmenter = Segmenter.load(
                'scene_tiny', f'cuda:{last}', engine=EngineSettings(engine, 'fp32')
            )
            started = [segmenter.start([FRAME]) for _ in range(3)]
            found.extend(finish().results[0] for finish in started)
            assert segmenter.device == torch.device('cuda', last)
            assert torch.cuda.current_device() == 0
            segmenter.recover()
            segmenter.release()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert not failures, failures
    for result in found:
        assert (result.panoptic == expected.panoptic).float().mean() > 0.99
    if last > 0:
        assert torch.cuda.memory_allocated(0) == before


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_the_fusion_launches_on_the_gpu_of_its_heads():
    device = torch.device('cuda', torch.cuda.device_count() - 1)
    network = network_of()
    heads = TorchEngine(network, device)(torch.randn(1, 3, 96, 160, device=device))
    variant = Segmenter.load('scene_tiny', 'cpu').variant
    result = fuse(heads, variant.label_set, pipeline.default_fusion(variant), (96, 160))
    assert result.panoptic.device == device
    assert result.cpu().panoptic.shape == (96, 160)
