"""Flicker counts what changes in the prediction alone, not what the camera saw change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pdl_ros.bench.flicker import bench_flicker, print_results
from pdl_ros.demo.scene import Scene
from pdl_ros.errors import PdlError
from pdl_ros.evaluation.recordings.flicker import LONGEST, STILL, FlickerCounter, brightness
from pdl_ros.pipeline import Segmenter

FRAME = 10**8


def play(*frames: tuple[np.ndarray, np.ndarray], period: int = FRAME) -> list[tuple[int, int, int]]:
    counter = FlickerCounter()
    return [
        counter.update(n * period, classes, brightness(rgb, classes.shape))
        for n, (rgb, classes) in enumerate(frames)
    ]


def picture(value: int = 100, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def test_a_class_that_changes_in_a_still_picture_flickers_and_one_that_stays_does_not():
    before, after = np.zeros((40, 60), np.uint8), np.zeros((40, 60), np.uint8)
    after[:10] = 3
    assert play((picture(), before), (picture(), after), (picture(), after)) == [
        (0, 0, 0),
        (2400, 600, 2400),
        (2400, 0, 2400),
    ]


def test_what_becomes_void_flickers():
    before, after = np.zeros((40, 60), np.uint8), np.full((40, 60), 255, np.uint8)
    assert play((picture(), before), (picture(), after))[1][1] == 2400


def test_where_the_picture_changes_a_class_may_change():
    moved = picture()
    moved[:, :30] = 200
    still, changed, compared = play(
        (picture(), np.zeros((40, 60), np.uint8)), (moved, np.ones((40, 60), np.uint8))
    )[1]
    assert compared == 2400
    assert 40 * 26 <= still <= 40 * 30, 'all of the right half but what the blur reaches'
    assert changed == still


def test_the_noise_of_a_camera_is_no_change():
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(100 + rng.normal(0, 4, (40, 60, 3)), 0, 255).astype(np.uint8) for _ in range(2)
    ]
    same = np.zeros((40, 60), np.uint8)
    still, _, compared = play(*((rgb, same) for rgb in noisy))[1]
    assert still > 0.99 * compared
    brighter = play((picture(100), same), (picture(100 + STILL + 1), same))[1]
    assert brighter[0] == 0, 'a lamp that is switched on is a change'


def test_frames_that_are_far_apart_jump_back_or_change_their_size_are_not_compared():
    same = np.zeros((40, 60), np.uint8)
    nothing = (0, 0, 0)
    assert play((picture(), same), (picture(), same), period=LONGEST + 1)[1] == nothing
    assert play((picture(), same), (picture(), same), period=-FRAME)[1] == nothing
    small = (picture(shape=(20, 30)), np.zeros((20, 30), np.uint8))
    assert play((picture(), same), small)[1] == nothing


def test_a_map_of_another_size_than_the_picture_is_compared_at_its_own():
    labels = np.zeros((20, 30), np.uint8)
    assert play((picture(), labels), (picture(), labels + 1))[1] == (600, 600, 600)


def test_the_bench_counts_a_clip_as_a_scored_recording_is_counted(tmp_path, capsys):
    street = [Scene(3).frame(n).image for n in range(4)]
    for number, rgb in enumerate(street):
        cv2.imwrite(str(tmp_path / f'{number}.png'), rgb[..., ::-1])
    results = bench_flicker([str(tmp_path)], ['scene_tiny'], 3, 'cpu')
    segmenter = Segmenter.load('scene_tiny', 'cpu')
    maps = [(rgb, segmenter(rgb).semantic.numpy()) for rgb in street[:3]]
    still, changed, compared = np.sum(play(*maps), 0)
    (row,) = results['rows']
    assert (row['source'], row['weights'], row['frames']) == (tmp_path.name, 'scene_tiny', 3)
    assert row['still_share'] == still / compared > 0.3
    assert row['flicker'] == changed / still
    print_results(results)
    assert f'{100 * changed / still:.2f}' in capsys.readouterr().out


def test_a_clip_without_two_frames_to_compare_is_refused_in_a_sentence(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), picture())
    cv2.imwrite(str(tmp_path / '1.png'), picture(shape=(20, 30)))
    with pytest.raises(PdlError, match='no two successive frames'):
        bench_flicker([str(tmp_path)], ['scene_tiny'], 9, 'cpu')
