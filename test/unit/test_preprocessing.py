"""What the network is given is the camera's picture."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pdl_ros.network.variants import get_variant
from pdl_ros.preprocessing import Preprocessor, network_size

STREETS = get_variant('street_efficientnet_lite0')
CPU = torch.device('cpu')


def picture(height: int, width: int) -> np.ndarray:
    """Make a smooth picture with an edge in it."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    frame = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    frame[height // 3 :, width // 2 :] //= 3
    return frame


def colours(images: torch.Tensor, variant) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (variant.mean, variant.std))
    return images * std + mean


@pytest.mark.parametrize('name', ['camvid_efficientnet_lite0', 'cityscapes_r52_dsconv'])
def test_a_frame_of_the_networks_size_enters_as_it_is(name):
    variant = replace(get_variant(name), size_divisor=32)
    frame = picture(96, 128)
    got = Preprocessor(variant, CPU)(frame, (96, 128))
    assert got.shape == (1, 3, 96, 128) and got.dtype == torch.float32
    want = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    torch.testing.assert_close(colours(got, variant), want, atol=1e-4, rtol=0)


@pytest.mark.parametrize('size', [(1080, 1920), (480, 640), (37, 53), (4000, 11), (1, 1)])
def test_a_frame_is_resized_without_aliasing_to_within_a_grey_level(size):
    frame = picture(*size)
    high, wide = network_size(*size, STREETS)
    got = colours(Preprocessor(STREETS, CPU)(frame, (high, wide)), STREETS)[..., :high, :wide]
    x = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    want = F.interpolate(x, (high, wide), mode='bilinear', antialias=True)
    assert (got - want).abs().max() < 1.2
    assert abs(float((got - want).mean())) < 0.3  # neither brighter nor darker


@pytest.mark.parametrize('size', [(96, 128), (50, 70)])
def test_a_mirrored_view_is_the_mirrored_picture_and_its_padding_stays_on_the_right(size):
    preprocess, frame = Preprocessor(STREETS, CPU), picture(96, 128)
    plain, mirrored = preprocess(frame, size), preprocess(frame, size, mirrored=True)
    high, wide = size
    assert torch.equal(mirrored[..., :high, :wide], plain[..., :high, :wide].flip(-1))
    assert not mirrored[..., wide:].any()


@pytest.mark.parametrize(
    'view',
    [
        lambda frame: frame[::-1],
        lambda frame: frame[:, ::2],
        lambda frame: frame[..., ::-1],
        lambda frame: frame.transpose(1, 0, 2),
    ],
)
def test_a_view_of_a_frame_is_read_as_it_looks_and_left_alone(view):
    frame = view(picture(96, 128))
    before = frame.copy()
    frame.setflags(write=False)
    for size in (frame.shape[:2], (40, 40)):
        preprocess = Preprocessor(STREETS, CPU)
        assert torch.equal(preprocess(frame, size), preprocess(before, size))
    np.testing.assert_array_equal(frame, before)
