"""What only a GPU can show: graphs, half precision, overlap, memory, and one read-back a frame."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import torch

from pdl_ros.bench.streets import street_heads
from pdl_ros.demo.scene import Scene
from pdl_ros.engines import EngineSettings
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.fusion import FusionSettings, fuse, fuse_reference
from pdl_ros.labels import LabelSet
from pdl_ros.network import checkpoints
from pdl_ros.pipeline import Segmenter
from pdl_ros.preprocessing import Preprocessor
from pdl_ros.runtime.cuda_graph import KEPT

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU'),
]
CPU, CUDA = torch.device('cpu'), torch.device('cuda:0')
STREET = 'camvid_efficientnet_lite0'


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    return [Scene(seed, 360, 480).frame(5 * seed).image for seed in range(4)]


@pytest.fixture(scope='module')
def expected(frames):
    """The same frames on the CPU in fp32."""
    segmenter = Segmenter.load(STREET, 'cpu', engine=EngineSettings('torch', 'fp32'))
    return [result.panoptic for result in segmenter(frames)]


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


@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
def test_label_maps_of_the_gpu_agree_with_those_of_the_cpu(precision, frames, expected):
    segmenter = Segmenter.load(STREET, 'cuda', engine=EngineSettings('torch', precision))
    same = [
        (result.panoptic == panoptic).float().mean().item()
        for result, panoptic in zip(segmenter(frames), expected, strict=True)
    ]
    assert np.mean(same) > (0.999 if precision == 'fp32' else 0.98), same


def test_a_recorded_graph_gives_what_the_kernels_give_one_by_one_for_more_shapes_than_it_keeps():
    network, _ = checkpoints.load('scene_tiny')
    engine = TorchEngine(network, CUDA, 'fp32')
    torch.manual_seed(0)
    for _ in range(2):
        for step in range(KEPT + 2):
            images = torch.randn(1, 3, 96 + 32 * step, 160, device=CUDA)
            with torch.inference_mode():
                eager = engine.network(images)
            for ours, theirs in zip(engine(images)[:3], eager[:3], strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert engine._graphs.recorded == [True] * KEPT


def test_frames_that_overlap_on_the_device_are_not_mixed_up(frames):
    segmenter = Segmenter.load(STREET, 'cuda')
    alone = [segmenter(frame).panoptic for frame in frames]
    pending, results = [], []
    for number in range(12):
        pending.append(segmenter.start([frames[number % 4]]))
        if len(pending) == 2:
            results += pending.pop(0)().results
    results += pending.pop()().results
    for number, result in enumerate(results):
        assert torch.equal(result.panoptic, alone[number % 4]), number


def test_a_batch_gives_each_camera_its_own_labels(frames):
    segmenter = Segmenter.load(STREET, 'cuda', engine=EngineSettings('torch', 'fp32'))
    alone = [segmenter(frame).panoptic for frame in frames]
    for result, panoptic in zip(segmenter.start(frames)().results, alone, strict=True):
        assert (result.panoptic == panoptic).float().mean() > 0.999


@pytest.mark.parametrize('size', [(256, 512), (1024, 2048), (75, 131)])
def test_the_fusion_is_the_definition_bit_for_bit(size):
    cityscapes = LabelSet.load('cityscapes')
    settings = FusionSettings()
    heads = street_heads((256, 512), 40, cityscapes)
    ours = fuse(heads.to(CUDA), cityscapes, settings, size).cpu()
    plain = fuse_reference(heads, cityscapes, settings, size)
    assert torch.equal(ours.panoptic, plain.panoptic)
    assert torch.equal(ours.instance, plain.instance)
    assert torch.equal(ours.semantic, plain.semantic)
    torch.testing.assert_close(ours.segments.score, plain.segments.score, rtol=0, atol=1e-5)


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


def test_released_segmenters_leave_no_memory_on_the_device(frames):
    def held() -> int:
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(CUDA)

    before = 0
    for round_ in range(4):
        segmenter = Segmenter.load(STREET, 'cuda')
        segmenter(frames[0])
        segmenter.release()
        del segmenter
        if round_ == 0:
            before = held()
    assert held() - before < 1 << 20


def test_a_frame_that_the_memory_does_not_suffice_for_costs_only_itself(frames):
    segmenter = Segmenter.load(STREET, 'cuda')
    expected = segmenter(frames[0]).panoptic
    small = torch.cuda.memory_reserved(CUDA) + (64 << 20)
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction(small / total, CUDA)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            segmenter.timed(frames[0], (6000, 8000))
        segmenter.recover()
        assert torch.equal(segmenter(frames[0]).panoptic, expected)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)


def test_the_default_on_a_gpu_is_half_precision_on_a_graph():
    segmenter = Segmenter.load(STREET, 'auto')
    assert (segmenter.device.type, segmenter.engine.precision) == ('cuda', 'fp16')


def test_settings_changed_between_frames_take_effect_on_the_next(frames):
    segmenter = Segmenter.load(STREET, 'cuda')
    segmenter.fusion = replace(segmenter.fusion, center_threshold=9.0)
    assert not segmenter(frames[0]).segments.is_thing.any()
