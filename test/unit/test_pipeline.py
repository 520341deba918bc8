"""A camera's frames come back segmented at their own size, whatever that is."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros.augmentation import InferenceAugmentation
from pdl_ros.engines import EngineSettings, pick_device
from pdl_ros.errors import PdlError
from pdl_ros.fusion import FusionSettings, PanopticResult, fuse
from pdl_ros.network import checkpoints
from pdl_ros.network.variants import VARIANTS, get_variant
from pdl_ros.pipeline import Segmenter, default_fusion
from pdl_ros.preprocessing import network_size, padded_size

from .test_network import network_of

TINY = get_variant('scene_tiny')


def segmenter_of(variant=TINY, device='cpu', **changes) -> Segmenter:
    variant = replace(variant, **changes)
    return Segmenter(network_of(variant), variant, device)


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    """An untrained network; its segments mean nothing but depend on every pixel."""
    return segmenter_of()


def frame_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Make a frame of coloured patches."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (-(-height // 16), -(-width // 16), 3))
    return np.kron(patches, np.ones((16, 16, 1)))[:height, :width].astype(np.uint8)


def assert_same(a: PanopticResult, b: PanopticResult) -> None:
    for x, y in zip((*a[:3], *a.segments), (*b[:3], *b.segments), strict=True):
        torch.testing.assert_close(x, y)


# --- frames of every size -----------------------------------------------------------------------


@pytest.mark.parametrize(
    'size', [(96, 160), (95, 161), (101, 77), (480, 640), (300, 40), (40, 300), (3, 200), (1, 1)]
)
def test_a_frame_of_any_size_is_segmented_at_its_size(segmenter, size):
    result = segmenter(frame_of(*size))
    assert [tuple(m.shape) for m in result[:3]] == [size] * 3
    assert int(result.semantic.max()) < TINY.label_set.num_classes
    found = set(result.panoptic.unique().tolist()) - {65535}
    assert found == set(result.segments.id.tolist())
    assert sum(result.segments.area.tolist()) == (result.panoptic != 65535).sum()


@pytest.mark.parametrize('size', [(97, 161), (1, 1), (3, 200), (250, 90)])
def test_the_align_corners_convention_takes_any_size_too(size):
    decoder = replace(TINY.decoder, align_corners=True)
    segmenter = segmenter_of(decoder=decoder, short_edge=97, long_edge=257)
    assert segmenter.fusion.align_corners
    assert segmenter(frame_of(*size)).panoptic.shape == size


def test_a_list_of_frames_gives_what_each_frame_gives(segmenter):
    frames = [frame_of(160, 256, 1), frame_of(50, 60, 2), frame_of(160, 256, 3)]
    results = segmenter(frames)
    assert len(results) == 3
    for result, frame in zip(results, frames, strict=True):
        assert_same(result, segmenter(frame))
    assert not torch.equal(results[0].panoptic, results[2].panoptic)
    assert segmenter([]) == []


def test_a_batch_gives_each_frame_its_own_labels_at_its_own_size(segmenter):
    frames = [frame_of(160, 256, 1), frame_of(159, 250, 2), frame_of(160, 256, 3)]
    assert len({segmenter.batch_key(*frame.shape[:2]) for frame in frames}) == 1
    sizes = [None, (40, 64), None]
    results, stages = segmenter.start(frames, sizes)()
    assert min(stages) >= 0 and stages.network_ms > 0
    for result, frame, size in zip(results, frames, sizes, strict=True):
        alone, _ = segmenter.timed(frame, size)
        assert result.panoptic.shape == alone.panoptic.shape == (size or frame.shape[:2])
        # Sums of a batch may be rounded otherwise: a pixel between two labels can turn.
        assert (result.panoptic == alone.panoptic).float().mean() > 0.999


def test_batches_that_were_started_before_the_first_was_finished_keep_their_own_results(segmenter):
    frames = [frame_of(160, 256, seed) for seed in range(3)]
    finishes = [segmenter.start([frame]) for frame in frames]
    for finish, frame in reversed(list(zip(finishes, frames, strict=True))):
        assert_same(finish().results[0], segmenter(frame))


def test_augmented_frames_of_a_batch_are_averaged_each_on_its_own():
    segmenter = segmenter_of()
    segmenter.augmentation = InferenceAugmentation((0.5, 1.0), flip=True)
    frames = [frame_of(64, 96, 1), frame_of(64, 96, 2)]
    for result, frame in zip(segmenter.start(frames)().results, frames, strict=True):
        assert_same(result, segmenter(frame))


def test_the_frame_is_normalised_and_segmented_and_nothing_else(segmenter):
    frame = frame_of(160, 256)
    image = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() - 127) / 128
    with torch.inference_mode():
        heads = segmenter.engine(image)
    assert_same(segmenter(frame), fuse(heads, TINY.label_set, default_fusion(TINY), (160, 256)))


def test_red_and_blue_are_not_taken_for_each_other(segmenter):
    frame = frame_of(160, 256)
    view = np.ascontiguousarray(frame[..., ::-1])[..., ::-1]
    assert_same(segmenter(frame), segmenter(view))  # a view of negative strides
    assert not torch.equal(segmenter(frame[..., ::-1]).semantic, segmenter(frame).semantic)


def test_a_frame_is_not_written_to_and_may_be_read_only(segmenter):
    frame = frame_of(160, 256)
    before = frame.copy()
    frame.setflags(write=False)
    segmenter(frame)
    np.testing.assert_array_equal(frame, before)


def test_padding_changes_nothing_where_none_is_needed():
    frame = frame_of(160, 256)
    padded, plain = segmenter_of(size_divisor=32), segmenter_of(size_divisor=1)
    assert_same(padded(frame), plain(frame))


@pytest.mark.parametrize('align_corners', [False, True])
def test_the_network_sees_padded_multiples_and_the_fusion_none_of_the_padding(align_corners):
    decoder = replace(TINY.decoder, align_corners=align_corners)
    pad = (10.0, 20.0, 30.0)
    segmenter, seen = segmenter_of(decoder=decoder, pad_color=pad), []
    segmenter.engine.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frame = frame_of(100, 141)
    segmenter(frame)
    high, wide = network_size(100, 141, segmenter.variant)
    assert [(edge - align_corners) % 32 for edge in seen[0].shape[-2:]] == [0, 0]
    expected = (torch.tensor(pad) - torch.tensor(TINY.mean)) / torch.tensor(TINY.std)
    for margin in (seen[0][..., high:, :], seen[0][..., wide:]):
        assert torch.equal(margin, expected.view(1, 3, 1, 1).expand_as(margin))
    with torch.inference_mode():
        heads = segmenter.engine.network(seen[0])
    expected = fuse(heads, TINY.label_set, segmenter.fusion, (100, 141), (high, wide))
    assert_same(segmenter(frame), expected)


def test_padding_is_the_mean_colour_unless_the_variant_names_another():
    segmenter, seen = segmenter_of(), []
    segmenter.engine.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    segmenter(frame_of(100, 150))
    _, wide = network_size(100, 150, segmenter.variant)
    assert wide < seen[0].shape[-1]
    assert not seen[0][..., wide:].any()


# --- the size at which a frame enters the network ------------------------------------------------


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(sorted(VARIANTS)))
def test_a_frame_keeps_its_shape_within_the_variants_edges(height, width, name):
    variant = get_variant(name)
    high, wide = network_size(height, width, variant)
    assert 1 <= min(high, wide) <= variant.short_edge
    assert max(high, wide) <= variant.long_edge
    scale = min(variant.short_edge / min(height, width), variant.long_edge / max(height, width))
    for before, after in ((height, high), (width, wide)):
        assert abs(after - before * scale) <= 0.5 + 1e-9 or after == 1
    assert (wide, high) == network_size(width, height, variant)


def test_frames_of_the_training_data_enter_as_they_are():
    assert network_size(360, 480, get_variant('street_efficientnet_lite0')) == (360, 480)
    assert network_size(1024, 2048, get_variant('cityscapes_r52_dsconv')) == (1024, 2048)
    assert network_size(1024, 2048, get_variant('cityscapes_resnet50_os32')) == (1024, 2048)
    assert network_size(480, 640, get_variant('coco_r52_dsconv')) == (480, 640)
    assert network_size(720, 1280, get_variant('street_efficientnet_lite0')) == (360, 640)
    assert network_size(400, 1600, get_variant('street_efficientnet_lite0')) == (160, 640)


def test_frames_of_camvid_enter_a_third_larger_so_that_thin_things_are_found():
    assert network_size(360, 480, get_variant('camvid_efficientnet_lite0')) == (480, 640)
    assert network_size(720, 1280, get_variant('camvid_efficientnet_lite0')) == (480, 853)


@pytest.mark.parametrize(
    ('name', 'frame', 'padded'),
    [
        ('cityscapes_resnet50_os32', (1024, 2048), (1025, 2049)),
        ('cityscapes_r52', (1024, 2048), (1024, 2048)),
        ('coco_r52_dsconv', (427, 640), (640, 640)),
        ('cityscapes_xception65', (1024, 1820), (1024, 1824)),
    ],
)
def test_a_published_network_gets_the_input_size_of_its_release(name, frame, padded):
    assert padded_size(network_size(*frame, get_variant(name)), get_variant(name)) == padded


# --- test-time augmentation -----------------------------------------------------------------------


def augmented(segmenter: Segmenter, frame: np.ndarray, *views) -> PanopticResult:
    segmenter.augmentation = InferenceAugmentation(*views)
    try:
        return segmenter(frame)
    finally:
        segmenter.augmentation = None


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('size', [(160, 256), (100, 141)])
def test_a_mirrored_image_gives_the_mirrored_maps_when_both_are_averaged(size, align_corners):
    segmenter = segmenter_of(decoder=replace(TINY.decoder, align_corners=align_corners))
    segmenter.variant = replace(segmenter.variant, short_edge=size[0], long_edge=size[1])
    frame = frame_of(*size)
    straight = augmented(segmenter, frame, (1.0,), True)
    mirror = augmented(segmenter, frame[:, ::-1], (1.0,), True)
    assert torch.equal(mirror.semantic.flip(-1), straight.semantic)
    # Instances are numbered along rows, so only their shapes must agree.
    pairs = torch.stack([mirror.panoptic.flip(-1), straight.panoptic]).flatten(1).unique(dim=1)
    assert len(pairs[0].unique()) == len(pairs[1].unique()) == pairs.shape[1]
    assert not torch.equal(augmented(segmenter, frame, (1.0,), False).semantic, straight.semantic)


def test_one_view_at_scale_one_is_the_plain_inference():
    segmenter, frame = segmenter_of(), frame_of(160, 256)
    plain, single = segmenter(frame), augmented(segmenter, frame, (1.0,), False)
    assert (plain.panoptic == single.panoptic).float().mean() > 0.999


def test_views_are_averaged_as_probabilities_at_every_scale():
    segmenter, frame, seen = segmenter_of(), frame_of(160, 256), []
    segmenter.engine.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    augmented(segmenter, frame, (0.5, 1.0, 1.5), True)
    assert [tuple(x.shape[-2:]) for x in seen] == [
        (96, 128), (96, 128), (160, 256), (160, 256), (256, 384), (256, 384)
    ]  # fmt: skip
    assert torch.equal(seen[3], seen[2].flip(-1))


@pytest.mark.parametrize('scales', [(), (0.0,), (1.0, -1.0), (float('nan'),), (9.0,)])
def test_scales_that_make_no_image_are_refused(scales):
    with pytest.raises(PdlError, match='scales are'):
        InferenceAugmentation(scales)


# --- settings and devices -------------------------------------------------------------------------


def test_changed_fusion_settings_take_effect_on_the_next_frame():
    segmenter, frame = segmenter_of(), frame_of(160, 256)
    before = segmenter(frame)
    segmenter.fusion = replace(segmenter.fusion, stuff_area=10**6, center_threshold=1e6)
    assert (segmenter(frame).panoptic == 65535).all()
    segmenter.fusion = default_fusion(TINY)
    assert_same(segmenter(frame), before)


def test_fusion_settings_are_the_variants_own_unless_given():
    assert default_fusion(TINY) == FusionSettings(
        nms_kernel=7, stuff_area=16, without_center='components'
    )
    assert default_fusion(get_variant('cityscapes_resnet50')).align_corners
    own = FusionSettings(top_k=3)
    assert Segmenter(network_of(), TINY, 'cpu', own).fusion == own


def test_the_stages_of_a_frame_are_timed(segmenter):
    segmenter.warm_up()
    result, times = segmenter.timed(frame_of(160, 256))
    assert_same(result, segmenter(frame_of(160, 256)))
    assert all(0 < ms < 60_000 for ms in times)


def test_a_segmenter_loads_what_was_saved(tmp_path, segmenter):
    file = tmp_path / 'w.safetensors'
    checkpoints.save(network_of(TINY), TINY, file, {})
    engine = EngineSettings('torch', segmenter.engine.precision)
    loaded = Segmenter.load(file, 'cpu', variant='scene_tiny', engine=engine)
    assert (loaded.variant, loaded.label_set, loaded.device.type) == (TINY, TINY.label_set, 'cpu')
    frame = frame_of(160, 256)
    same = (loaded(frame).semantic == segmenter(frame).semantic).float().mean()
    assert same > 0.8  # files hold half precision, which random weights amplify
    with pytest.raises(PdlError, match='not of'):
        Segmenter.load(file, 'cpu', variant='cityscapes_resnet50')


@pytest.mark.parametrize('device', ['gpu', '', 'cuda:99', 'cuda:x', 'meta', 'mps', 'cpu:x'])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(device):
    with pytest.raises(PdlError, match=repr(device)) as error:
        pick_device(device)
    assert '\n' not in str(error.value)


def test_cuda_is_taken_where_it_is_and_explained_where_it_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    assert pick_device('auto').type == pick_device('cuda:0').type == 'cuda'
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    assert pick_device('auto') == pick_device('cpu') == torch.device('cpu')
    with pytest.raises(PdlError, match='sees 0 CUDA devices; use device cpu'):
        pick_device('cuda')


@pytest.mark.parametrize(
    'frame',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.int8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
    ids=lambda frame: f'{frame.shape} {frame.dtype}',
)
def test_what_is_no_rgb_frame_is_refused_in_a_sentence_and_the_next_one_is_not(segmenter, frame):
    for frames in (frame, [frame]):
        with pytest.raises(PdlError, match=r'must be an .* uint8 RGB array') as error:
            segmenter(frames)
        assert str(frame.dtype) in str(error.value)
        assert '\n' not in str(error.value)
    assert segmenter(frame_of(8, 8)).panoptic.shape == (8, 8)


# --- files -------------------------------------------------------------------------------------


def test_files_hold_the_panoptic_map_and_the_segments_of_each_frame(tmp_path, segmenter):
    from pdl_ros.cli.infer import infer_frames
    from pdl_ros.sources import open_source

    weights, image, out = tmp_path / 'w.safetensors', tmp_path / 'a.png', tmp_path / 'new' / 'out'
    checkpoints.save(network_of(TINY), TINY, weights, {})
    frame = frame_of(90, 150)
    assert cv2.imwrite(str(image), frame[..., ::-1])
    assert infer_frames(open_source(str(image)), Segmenter.load(weights, 'cpu'), out) == 1
    assert sorted(p.name for p in out.iterdir()) == [
        '000000.json',
        '000000_overlay.png',
        '000000_panoptic.png',
    ]
    panoptic = cv2.imread(str(out / '000000_panoptic.png'), cv2.IMREAD_UNCHANGED)
    assert (panoptic.dtype, panoptic.shape) == (np.uint16, (90, 150))
    expected = Segmenter.load(weights, 'cpu')(frame)
    np.testing.assert_array_equal(panoptic, expected.panoptic.numpy())
    segments = json.loads((out / '000000.json').read_text())
    assert {s['id'] for s in segments} == set(np.unique(panoptic).tolist()) - {65535}
    for segment in segments:
        assert segment['area'] == (panoptic == segment['id']).sum()
        assert segment['class_name'] == TINY.label_set.classes[segment['class_id']].name
    overlay = cv2.imread(str(out / '000000_overlay.png'))
    assert overlay.shape == (90, 150, 3)
    assert not np.array_equal(overlay[..., ::-1], frame)
