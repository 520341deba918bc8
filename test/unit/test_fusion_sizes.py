"""The fusion at an output size that is not the network's."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdl_ros.bench.streets import street_heads
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.fusion.centers import find_centers
from pdl_ros.fusion.sampling import sample, sampling_axes
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.layers import resize

from .fusion_by_hand import (
    CAR,
    LABEL_SET,
    ROAD,
    assert_same,
    head_arrays,
    heads_of,
    run,
    tensors,
)


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.booleans(), st.sampled_from([1, 3, 7]), st.integers(0, 40))
def test_twice_the_output_size_is_a_network_with_twice_the_stride(arrays, align, kernel, area):
    height, width = arrays[1].shape
    extra = 1 if align else 0
    size = tuple(8 * (edge - extra) + extra for edge in (height, width))
    fusion = FusionSettings(nms_kernel=kernel, stuff_area=area, align_corners=align)
    logits, heatmap, offset = arrays
    doubled = replace(fusion, nms_kernel=2 * kernel - 1, stuff_area=4 * area)
    if min(size) > 1:  # one sample has no length to be scaled
        assert_same(
            fuse(tensors(*arrays, stride=4), LABEL_SET, fusion, size),
            fuse(tensors(logits, heatmap, 2 * offset, stride=8), LABEL_SET, doubled, size),
        )


def at_full_size(heads: HeadOutputs, size: tuple[int, int], stretch=(1.0, 1.0)) -> HeadOutputs:
    axes = sampling_axes(heads, size, None, align_corners=False)
    semantic, heatmap, offset = (sample(h, axes) for h in heads[:3])
    return HeadOutputs(semantic, heatmap, offset * torch.tensor(stretch).view(2, 1, 1), 1)


@settings(deadline=None, max_examples=100)
@given(head_arrays(), st.integers(1, 19), st.integers(1, 19), st.booleans())
def test_heads_are_resized_as_pytorch_resizes_them(arrays, height, width, align_corners):
    heads = tensors(*arrays, stride=4)
    axes = sampling_axes(heads, (height, width), None, align_corners)
    for head in heads[:3]:
        expected = resize(head, (height, width), align_corners)
        assert (sample(head, axes) - expected).abs().max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.data(), st.booleans())
def test_padding_is_cut_off_after_resizing_as_published(arrays, data, align_corners):
    heads = tensors(*arrays, stride=4)
    whole = tuple(4 * n - 3 * align_corners for n in arrays[1].shape)
    valid = tuple(data.draw(st.integers(2, n)) if n > 1 else 1 for n in whole)
    cut = sampling_axes(heads, valid, valid, align_corners)
    full = sampling_axes(heads, whole, None, align_corners)
    for head in heads[:3]:
        expected = sample(head, full)[..., : valid[0], : valid[1]]
        assert (sample(head, cut) - expected).abs().max() < 1e-5


@settings(deadline=None, max_examples=50)
@given(head_arrays(), st.integers(2, 5), st.integers(2, 5))
def test_offsets_stretch_with_each_axis_unless_detectron2_is_asked_for(arrays, down, across):
    heads = tensors(*arrays, stride=2)
    height, width = arrays[1].shape
    size = (height * down, width * across)
    fusion = FusionSettings(nms_kernel=1, stuff_area=0)
    assert_same(
        fuse(heads, LABEL_SET, fusion, size),
        run(at_full_size(heads, size, (down / 2, across / 2)), fusion),
        rounding=1e-5,  # of the scores: logits are sampled here and given there
    )
    unscaled = FusionSettings(nms_kernel=3, stuff_area=9, rescale=False)
    assert_same(
        fuse(heads, LABEL_SET, unscaled, size),
        run(at_full_size(heads, size), replace(unscaled, rescale=True)),
        rounding=1e-5,
    )


def street_of_cars(size: tuple[int, int], stride: int = 4) -> HeadOutputs:
    """Make heads of a road with three cars in the middle third of the height, and their Gaussians
    as on Cityscapes: sigma is 10 pixels of the network's input.
    """
    high, wide = size[0] // stride, size[1] // stride
    y, x = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing='ij')
    middle, cars = high // 2, torch.tensor([wide * (2 * i + 1) // 6 for i in range(3)])
    squares = (y - middle) ** 2 + (x - cars.view(3, 1, 1)) ** 2
    semantic = torch.where((y - middle).abs() < high / 6, CAR, ROAD)
    offset = stride * torch.stack([middle - y, cars[squares.argmin(0)] - x])
    heads = heads_of(semantic, (), offset, stride)
    heatmap = 0.9 * torch.exp(-squares.amin(0) * stride**2 / 200)
    noise = torch.randn(heatmap.shape, generator=torch.Generator().manual_seed(0))
    return heads._replace(center_heatmap=(heatmap + 0.01 * noise)[None, None])


@pytest.mark.parametrize('align', [False, True])
@pytest.mark.parametrize(
    'size', [(257, 511), (160, 320), (80, 160), (43, 86), (20, 40), (300, 90), (600, 40)]
)
def test_three_cars_are_three_with_the_same_scores_however_small_the_output_is(size, align):
    fusion = replace(FusionSettings(stuff_area=0), align_corners=align)
    heads = street_of_cars((512, 1024))
    network = (509, 1021) if align else (512, 1024)
    found, whole = (fuse(heads, LABEL_SET, fusion, s).segments for s in (size, network))
    assert found.is_thing.sum() == whole.is_thing.sum() == 3
    if size[0] < network[0]:
        torch.testing.assert_close(found.objectness, whole.objectness, rtol=0, atol=0)
    share = torch.tensor([size[1] / network[1], size[0] / network[0]])
    left, right = (center[:3][center[:3, 0].argsort()] for center in (found.center, whole.center))
    assert (left - right * share).abs().max() < 1.5


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 30), st.integers(8, 256), st.integers(8, 512))
def test_a_smaller_output_never_shows_more_things_than_the_network_has_centres(
    seed, count, high, wide
):
    cityscapes = LabelSet.load('cityscapes')
    heads = street_heads((256, 512), count, cityscapes, seed)
    heatmap = sample(heads.center_heatmap, sampling_axes(heads, (256, 512), None, False))[0, 0]
    found = fuse(heads, cityscapes, FusionSettings(stuff_area=0), (high, wide))
    assert found.segments.is_thing.sum() <= len(find_centers(heatmap, 0.1, 7, 200))
