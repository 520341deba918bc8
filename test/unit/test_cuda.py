"""What only a GPU can show: graphs, half precision, overlap, memory, and one read-back a frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdl_ros.demo.scene import Scene
from pdl_ros.doctor.gpu.checks import CHECKS
from pdl_ros.doctor.gpu.outcome import FAILED, trial_on
from pdl_ros.engines import EngineSettings
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.fusion import fuse
from pdl_ros.network import checkpoints
from pdl_ros.pipeline import Segmenter
from pdl_ros.preprocessing import Preprocessor

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
CPU, CUDA = torch.device('cpu'), torch.device('cuda:0')
STREET = 'camvid_efficientnet_lite0'


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    return [Scene(seed, 360, 480).frame(5 * seed).image for seed in range(4)]


@pytest.mark.parametrize('name', [name for name in CHECKS if not name.startswith('time_')])
def test_what_the_doctor_proves_on_a_users_gpu_holds_on_this_one(name):
    outcome = CHECKS[name](trial_on(CUDA))
    assert outcome.state != FAILED, outcome


@pytest.mark.parametrize(
    ('precision', 'tolerance'), [('fp32', 1e-3), ('bf16', 0.1), ('fp16', 1e-2)]
)
def test_the_network_on_the_gpu_says_what_it_says_on_the_cpu(precision, tolerance, frames):
    network, variant = checkpoints.load(STREET)
    images = Preprocessor(variant, CPU)(frames[0], (360, 480))
    engine = TorchEngine(network, CUDA, precision)
    with torch.inference_mode():
        plain = network(images)
    for ours, theirs in zip(engine(images.to(CUDA))[:3], plain[:3], strict=True):
        assert (ours.cpu() - theirs).abs().max() <= tolerance * theirs.abs().max()


def test_a_batch_gives_each_camera_its_own_labels(frames):
    segmenter = Segmenter.load(STREET, 'cuda', engine=EngineSettings('torch', 'fp32'))
    alone = [segmenter(frame).panoptic for frame in frames]
    for result, panoptic in zip(segmenter.start(frames)().results, alone, strict=True):
        assert (result.panoptic == panoptic).float().mean() > 0.999


def test_nothing_waits_for_the_device_between_upload_and_read_back(frames):
    segmenter = Segmenter.load(STREET, 'cuda')
    segmenter(frames[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        finish = segmenter.start([frames[1]])
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert finish().results[0].panoptic.shape == (360, 480)


def test_the_fusion_is_launched_as_one_recording_and_gives_the_definition_frame_by_frame(frames):
    segmenter = Segmenter.load(STREET, 'cuda', engine=EngineSettings('torch', 'fp32'))
    plain = Segmenter.load(STREET, 'cuda', engine=EngineSettings('torch', 'fp32'))
    plain._fuse = fuse
    for frame in frames:
        ours, theirs = segmenter(frame), plain(frame)
        assert torch.equal(ours.panoptic, theirs.panoptic)
        assert torch.equal(ours.segments.score, theirs.segments.score)
    assert segmenter._fuse.graphs.recorded == [True]
    assert segmenter.engine._graphs.recorded == [True]


def test_the_default_on_a_gpu_is_half_precision_on_a_graph():
    segmenter = Segmenter.load(STREET, 'auto')
    assert (segmenter.device.type, segmenter.engine.precision) == ('cuda', 'fp16')


def test_settings_changed_between_frames_take_effect_on_the_next(frames):
    segmenter = Segmenter.load(STREET, 'cuda')
    segmenter.fusion = replace(segmenter.fusion, center_threshold=9.0, without_center='void')
    assert not segmenter(frames[0]).segments.is_thing.any()
