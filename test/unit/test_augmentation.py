"""An augmented image still belongs to its labels, and is cut the same way every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.datasets import Sample, Segment
from pdl_ros.errors import PdlError
from pdl_ros.training.augmentation import augment
from pdl_ros.training.settings import AugmentationSettings

MEAN = (123.675, 116.28, 103.53)
IDS = 60_000  # drawn segment ids end here; void is whatever is none of them


def sample_of(height: int, width: int, block: int = 1, seed: int = 0) -> Sample:
    """Make an image whose pixels spell their label: red and green are its two bytes."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, IDS, (-(-height // block), -(-width // block)))
    panoptic = np.kron(ids, np.ones((block, block), int))[:height, :width].astype(np.int32)
    image = np.stack([panoptic // 256, panoptic % 256, np.full_like(panoptic, 77)], -1)
    return Sample('drawn', image.astype(np.uint8), panoptic, (Segment(3, 0),))


def cut(sample: Sample, seed: int = 0, **changes) -> Sample:
    changes = {'crop': (64, 96), 'scales': (1.0, 1.0)} | changes
    return augment(sample, AugmentationSettings(**changes), MEAN, np.random.default_rng(seed))


def is_void(sample: Sample) -> np.ndarray:
    return (sample.panoptic < 0) | (sample.panoptic >= IDS)


def spelled(sample: Sample) -> np.ndarray:
    return sample.image[..., 0].astype(int) * 256 + sample.image[..., 1]


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(20, 120), st.integers(20, 160)), st.booleans(), st.integers(0, 2**32))
def test_every_pixel_keeps_its_label_through_crop_and_flip(size, flip, seed):
    found = cut(sample_of(*size), seed, flip=flip)
    inside = ~is_void(found)
    assert inside.sum() == min(size[0], 64) * min(size[1], 96)
    np.testing.assert_array_equal(spelled(found)[inside], found.panoptic[inside])
    assert (found.image[..., 2][inside] == 77).all()


@pytest.mark.parametrize('scale', [0.5, 0.77, 1.3, 2.0])
def test_image_and_labels_are_scaled_alike(scale):
    # Blocks as large as twenty pixels, compared where no pixel touches another block.
    sample = sample_of(160, 240, block=20)
    found = cut(sample, scales=(scale, scale))
    label = found.panoptic
    calm = np.ones(label.shape, bool)
    for dy, dx in np.ndindex(5, 5):
        calm &= label == np.roll(label, (dy - 2, dx - 2), (0, 1))
    calm[:2] = calm[-2:] = calm[:, :2] = calm[:, -2:] = False
    assert calm.sum() > 1000
    np.testing.assert_array_equal(spelled(found)[calm], label[calm])
    largest = max(np.unique(label, return_counts=True)[1])
    assert largest == pytest.approx((20 * scale) ** 2, rel=0.15)


@pytest.mark.parametrize('scale', [0.5, 0.75, 1.5, 2.0])
def test_scaled_labels_do_not_slide_against_their_image(scale):
    # A bright right half: the image's edge, to a fraction of a pixel, against the labels'.
    sample = sample_of(64, 96)
    sample.panoptic[:] = 0
    sample.panoptic[:, 48:] = 1
    sample.image[:] = 255 * sample.panoptic[..., None]
    found = cut(sample, scales=(scale, scale), flip=False, crop=(32, 192))
    width = round(96 * scale)
    edge_of_image = width - found.image[0, :width, 0].sum() / 255
    edge_of_labels = width - (found.panoptic[0, :width] == 1).sum()
    assert edge_of_labels == pytest.approx(edge_of_image, abs=0.51)


@settings(deadline=None, max_examples=60)
@given(st.tuples(st.integers(32, 200), st.integers(32, 200)), st.floats(0.3, 3))
def test_a_scaled_label_is_that_of_the_pixel_under_the_middle_of_the_new_one(size, scale):
    sample = sample_of(*size)
    sample.panoptic[:] = 200 * np.arange(size[0])[:, None] + np.arange(size[1])
    scaled = tuple(round(edge * scale) for edge in size)
    crop = tuple(max(edge, 32) for edge in scaled)
    found = cut(sample, scales=(scale, scale), flip=False, crop=crop)
    ys, xs = np.divmod(found.panoptic[: scaled[0], : scaled[1]], 200)
    for chosen, axis in ((ys, 0), (xs, 1)):
        middle = (np.indices(scaled)[axis] + 0.5) * size[axis] / scaled[axis]
        # The pixel's own half, and what OpenCV's 16-bit fractions round away.
        assert np.abs(chosen + 0.5 - middle).max() <= 0.52


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 130), st.integers(1, 130)),
    st.tuples(st.integers(32, 100), st.integers(32, 100)),
    st.tuples(st.floats(0.05, 1), st.floats(1, 3)),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 2**32),
)
def test_a_batch_can_be_stacked_whatever_the_image_size(size, crop, scales, color, seed):
    found = cut(sample_of(*size), seed, crop=crop, scales=scales, color=color)
    assert found.image.shape == (*crop, 3)
    assert found.panoptic.shape == crop
    assert (found.image.dtype, found.panoptic.dtype) == (np.uint8, np.int32)
    assert found.image.flags.c_contiguous
    assert found.panoptic.flags.c_contiguous


def test_what_lies_outside_a_small_image_is_mean_grey_and_void():
    found = cut(sample_of(40, 50), color=0.8)
    outside = np.ones((64, 96), bool)
    outside[:40, :50] = False
    np.testing.assert_array_equal(is_void(found), outside)
    assert (np.abs(found.image[outside] - np.array(MEAN)) <= 0.5).all()


def test_padding_stays_void_in_data_whose_segment_ids_use_all_24_bits():
    sample = sample_of(40, 50)
    # The value of void in our own 16-bit PNGs is a segment id like any other in COCO's.
    sample = sample._replace(segments=(Segment(65535, 0),))
    sample.panoptic[:] = 65535
    assert (cut(sample).panoptic == 65535).sum() == 40 * 50


def test_the_same_seed_gives_the_same_crop_and_another_one_another():
    sample, free = sample_of(100, 150), {'scales': (0.5, 2.0), 'color': 0.3}
    first, again, other = (cut(sample, seed, **free) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.panoptic, again.panoptic)
    assert not np.array_equal(first.panoptic, other.panoptic)


def test_half_of_the_crops_are_mirrored_and_none_where_that_is_forbidden():
    sample = sample_of(64, 96)
    crops = [cut(sample, seed).panoptic for seed in range(60)]
    mirrored = [np.array_equal(c, sample.panoptic[:, ::-1]) for c in crops]
    same = [np.array_equal(c, sample.panoptic) for c in crops]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 15 < sum(mirrored) < 45
    for seed in range(10):
        assert np.array_equal(cut(sample, seed, flip=False).panoptic, sample.panoptic)


def test_crops_reach_every_corner_of_the_image():
    sample = sample_of(66, 98)
    tops = {tuple(np.argwhere(sample.panoptic == cut(sample, seed, flip=False).panoptic[0, 0])[0])
            for seed in range(150)}  # fmt: skip
    assert tops == set(np.ndindex(3, 3))


def test_colour_changes_the_image_and_never_the_labels_or_the_sample_itself():
    sample = sample_of(64, 96)
    before = sample.image.copy(), sample.panoptic.copy()
    plain, coloured = cut(sample), cut(sample, color=0.5)
    assert not np.array_equal(plain.image, coloured.image)
    np.testing.assert_array_equal(plain.panoptic, coloured.panoptic)
    assert (coloured.name, coloured.segments) == (sample.name, sample.segments)
    np.testing.assert_array_equal(sample.image, before[0])
    np.testing.assert_array_equal(sample.panoptic, before[1])


@pytest.mark.parametrize(
    'wrong',
    [
        {'crop': (31, 64)},
        {'scales': (0.0, 1.0)},
        {'scales': (2.0, 1.0)},
        {'scales': (float('nan'), 1.0)},
        {'color': -0.1},
        {'color': 1.5},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_where_it_is_made(wrong):
    with pytest.raises(PdlError, match=f'(?i){next(iter(wrong))}'):
        AugmentationSettings(**{'crop': (64, 64), **wrong})
