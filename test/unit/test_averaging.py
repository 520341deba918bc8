"""Views of one frame are averaged as if they were one: same places, same directions, same units."""

from __future__ import annotations

import pytest
import torch

from pdl_ros.fusion.averaging import View, average_views
from pdl_ros.network.heads import HeadOutputs

SIZE = (32, 48)


def heads_of(seed: int, height: int = 8, width: int = 12) -> HeadOutputs:
    torch.manual_seed(seed)
    return HeadOutputs(
        4 * torch.randn(1, 3, height, width),
        torch.rand(1, 1, height, width),
        torch.randn(1, 2, height, width),
        stride=4,
    )


def mirrored(heads: HeadOutputs) -> HeadOutputs:
    offset = heads.offset.flip(-1) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    return HeadOutputs(heads.semantic.flip(-1), heads.center_heatmap.flip(-1), offset, heads.stride)


@pytest.mark.parametrize('align_corners', [False, True])
def test_a_network_that_mirrors_perfectly_gains_nothing_from_the_mirror(align_corners):
    heads = heads_of(0)
    size = (29, 45) if align_corners else SIZE
    one = average_views([View(heads, size, False)], size, align_corners)
    two = average_views(
        [View(heads, size, False), View(mirrored(heads), size, True)], size, align_corners
    )
    for a, b in zip(one[:3], two[:3], strict=True):
        torch.testing.assert_close(a, b)


def test_an_offset_of_a_larger_view_counts_its_own_pixels():
    double = HeadOutputs(*(h.repeat(1, 1, 2, 2) for h in heads_of(0)[:3]), stride=4)
    double.offset[:] = torch.tensor([6.0, -10.0]).view(1, 2, 1, 1)
    merged = average_views([View(double, (64, 96), False)], SIZE, False)
    assert merged.stride == 1
    assert torch.equal(merged.offset[0, 0], torch.full(SIZE, 3.0))
    assert torch.equal(merged.offset[0, 1], torch.full(SIZE, -5.0))


def test_probabilities_are_averaged_and_not_logits():
    sure, unsure = heads_of(0), heads_of(1)
    sure.semantic[:] = torch.tensor([100.0, 0.0, 0.0]).view(1, 3, 1, 1)
    unsure.semantic[:] = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    merged = average_views([View(sure, SIZE, False), View(unsure, SIZE, False)], SIZE, False)
    expected = (torch.tensor([1.0, 0.0, 0.0]) + torch.tensor([0.0, 1.0, 0.0]).softmax(0)) / 2
    torch.testing.assert_close(merged.semantic.softmax(1)[0, :, 5, 5], expected)
    heatmaps = [h.center_heatmap for h in (sure, unsure)]
    assert merged.center_heatmap.mean() == pytest.approx(float(sum(heatmaps).mean() / 2), rel=1e-2)


def test_a_class_that_no_view_believes_in_stays_finite():
    heads = heads_of(0)
    heads.semantic[:] = torch.tensor([1000.0, 0.0, 0.0]).view(1, 3, 1, 1)
    merged = average_views([View(heads, SIZE, False)], SIZE, False)
    assert torch.isfinite(merged.semantic).all()


def test_the_padding_of_a_mirrored_view_is_cut_off_on_its_own_side():
    # 40 of 48 columns are image; the mirror image lies at the left of its canvas too.
    heads = heads_of(0)
    heads.center_heatmap[..., :] = torch.arange(12.0)
    mirror = heads._replace(center_heatmap=heads.center_heatmap.clone())
    mirror.center_heatmap[..., :10] = heads.center_heatmap[..., :10].flip(-1)
    mirror.center_heatmap[..., 10:] = 1000  # padding
    merged = average_views([View(mirror, (32, 40), True)], (32, 40), False)
    assert merged.center_heatmap[0, 0, 0, 8:].max() < 12
    straight = average_views([View(heads, (32, 40), False)], (32, 40), False)
    inner = slice(8, 32)
    torch.testing.assert_close(
        merged.center_heatmap[..., inner], straight.center_heatmap[..., inner]
    )
