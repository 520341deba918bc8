"""Smoothing holds still what only the network is undecided about, and nothing else."""

from __future__ import annotations

import numpy as np
import torch

from pdl_ros.fusion.smoothing import SHARE, STILL, Smoother
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.pipeline import Segmenter

SIZE = (48, 64)


def heads_of(value: float, size: tuple[int, int] = SIZE, stride: int = 4) -> HeadOutputs:
    """Make heads of two classes, the first of which has this logit everywhere."""
    semantic = torch.zeros(1, 2, size[0] // stride, size[1] // stride)
    semantic[:, 0] = value
    center, offset = torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)
    return HeadOutputs(semantic, center, offset, stride)


def picture(value: int = 100, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def classes(heads: HeadOutputs) -> torch.Tensor:
    return heads.semantic.argmax(1)[0]


def test_a_class_that_the_network_changes_for_one_frame_stays_where_the_picture_does():
    smooth = Smoother()
    for value in (2.0, -1.0, 2.0):
        assert (classes(smooth(heads_of(value), picture(), SIZE)) == 0).all()
    assert (classes(heads_of(-1.0)) == 1).all()


def test_a_class_that_really_changes_is_there_after_a_few_frames():
    smooth = Smoother()
    smooth(heads_of(3.0), picture(), SIZE)
    seen = [int(classes(smooth(heads_of(-3.0), picture(), SIZE))[0, 0]) for _ in range(3)]
    assert seen[-1] == 1


def test_where_something_moved_the_network_is_believed_at_once():
    smooth, moved = Smoother(), picture()
    moved[:, 32:] += STILL + 1
    smooth(heads_of(2.0), picture(), SIZE)
    now = smooth(heads_of(-1.0), moved, SIZE).semantic[0, 0]
    assert (now[:, 8:] == -1).all()
    assert (now[:, :8] == 2 * (1 - SHARE) - SHARE).all()


def test_padding_is_not_averaged_and_the_other_heads_are_left_alone():
    smooth, heads = Smoother(), heads_of(-1.0)
    smooth(heads_of(2.0), picture(size=(22, 64)), (22, 64))
    now = smooth(heads, picture(size=(22, 64)), (22, 64))
    assert (now.semantic[0, 0, :6] > 0).all()
    assert (now.semantic[0, 0, 6:] == -1).all()
    assert (now.center_heatmap is heads.center_heatmap, now.offset is heads.offset) == (True, True)


def test_a_camera_that_changes_its_size_begins_anew():
    smooth = Smoother()
    smooth(heads_of(2.0), picture(), SIZE)
    now = smooth(heads_of(-1.0, (24, 32)), picture(size=(24, 32)), (24, 32))
    assert (now.semantic[:, 0] == -1).all()


def test_a_frame_of_nonsense_costs_itself_and_not_those_that_follow():
    smooth = Smoother()
    smooth(heads_of(2.0), picture(), SIZE)
    smooth(heads_of(float('nan')), picture(), SIZE)
    assert (smooth(heads_of(-1.0), picture(), SIZE).semantic[:, 0] == -1).all()


def test_what_an_engine_writes_over_is_remembered_as_it_was():
    smooth, heads = Smoother(), heads_of(2.0)
    smooth(heads, picture(), SIZE)
    heads.semantic[:] = 0
    heads.semantic[:, 0] = -1.0  # the next frame, in the same memory
    assert (classes(smooth(heads, picture(), SIZE)) == 0).all()


def test_the_first_smoothed_frame_is_the_plain_one_and_cameras_do_not_mix():
    segmenter = Segmenter.load('scene_tiny', 'cpu')
    rng = np.random.default_rng(0)
    left, right = (rng.integers(0, 256, (96, 128, 3), dtype=np.uint8) for _ in range(2))
    smoothers = [Smoother(), Smoother()]
    for _ in range(2):  # frames that repeat are their own average
        results = segmenter.start([left, right], None, smoothers)().results
        for rgb, result in zip((left, right), results, strict=True):
            same = (result.semantic == segmenter(rgb).semantic).float().mean()
            assert same > 0.99  # networks round differently in a batch
