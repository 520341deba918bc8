"""The video of a recording shows each image with its own results, when it was taken."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pdl_ros import visualization
from pdl_ros.bags.bag_messages import BagMessages
from pdl_ros.bags.qos import LATCHED
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.demo.scene import Scene
from pdl_ros.messages.images import ImageWriter
from pdl_ros.messages.instances import label_info

from .test_cli import call

MAKE = BagMessages()
SCENE = Scene(3, 96, 160)
STAMPS = [10**18 + milliseconds * 10**6 for milliseconds in (0, 100, 150, 400, 433)]


def write(
    folder: Path,
    images: list[int] | None = None,
    labels: list[int] | None = None,
    stamps: list[int] = STAMPS,
    prefix: str = '',
    scale: int = 1,
    told: bool = True,
) -> Path:
    """Record the numbers of frames of a street as images, and of others as label images."""
    pictures, maps = ImageWriter(MAKE, 'rgb8'), ImageWriter(MAKE, '16UC1')
    with BagWriter(folder) as bag:
        if told:
            info = bag.add_topic(
                f'{prefix}/panoptic_node/label_info', 'pdl_ros/msg/LabelInfo', LATCHED
            )
            message = label_info(MAKE, SCENE.label_set, MAKE.header(stamps[0], ''))
            bag.write(info, stamps[0], serialize(message))
        image = bag.add_topic(f'{prefix}/camera/image', 'sensor_msgs/msg/Image')
        panoptic = bag.add_topic(f'{prefix}/panoptic_node/panoptic/image', 'sensor_msgs/msg/Image')
        for number in images or ():
            header = MAKE.header(stamps[number], 'camera')
            message = pictures.fill(SCENE.frame(number * 5).image, header)
            bag.write(image, 10**18 + number, serialize(message))
        for number in labels or ():
            header = MAKE.header(stamps[number], 'camera')
            found = SCENE.frame(number * 5).panoptic[::scale, ::scale].astype(np.uint16)
            bag.write(panoptic, 10**18 + number, serialize(maps.fill(found, header)))
    return folder


def read(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        return [(f.time, f.to_ndarray(format='rgb24')) for f in container.decode(stream)]


def strip_of(number: int) -> np.ndarray:
    sample = SCENE.frame(number * 5)
    labels = sample.panoptic
    return np.hstack(
        [
            sample.image,
            visualization.overlay(sample.image, labels, SCENE.label_set),
            visualization.instances(labels, SCENE.label_set),
        ]
    )


def assert_shows(picture: np.ndarray, number: int) -> None:
    """Assert that a picture is nearer to that of a number than a codec's noise."""
    small = [cv2.resize(p, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA).astype(int)
             for p in (picture, strip_of(number))]  # fmt: skip
    assert np.abs(small[0] - small[1]).mean() < 4


def test_image_overlay_and_instances_are_shown_when_their_image_was_taken(tmp_path):
    bag = write(tmp_path / 'drive', [*range(5)], [*range(5)])
    answer = call('bag', 'video', bag, '-o', tmp_path / 'a.mp4')
    assert answer.returncode == 0, answer.stderr
    assert '5 images, 0.4 s' in answer.stdout
    shown = read(tmp_path / 'a.mp4')
    assert [time for time, _ in shown] == pytest.approx([0, 0.1, 0.15, 0.4, 0.433], abs=1e-4)
    for number, (_, picture) in enumerate(shown):
        assert picture.shape == (96, 3 * 160, 3)
        assert_shows(picture, number)


def test_results_may_be_in_a_recording_of_their_own_and_lack_some_images(tmp_path):
    images = write(tmp_path / 'drive', [*range(5)], told=False)
    results = write(tmp_path / 'out', None, [0, 2, 3])
    answer = call('bag', 'video', images, '--results', results, '-o', tmp_path / 'a.mp4')
    assert answer.returncode == 1
    assert 'images without labels of their stamp, which are left out: 2' in answer.stdout
    shown = read(tmp_path / 'a.mp4')
    assert [time for time, _ in shown] == pytest.approx([0, 0.15, 0.4], abs=1e-4)
    for number, (_, picture) in zip([0, 2, 3], shown, strict=True):
        assert_shows(picture, number)


def test_results_of_the_networks_size_are_shown_at_the_images(tmp_path):
    bag = write(tmp_path / 'drive', [0, 1], [0, 1], scale=2)
    assert call('bag', 'video', bag, '-o', tmp_path / 'a.mp4', '--width', 81).returncode == 0
    for _, picture in read(tmp_path / 'a.mp4'):
        assert picture.shape == (48, 3 * 80, 3)


def test_stamps_that_jump_back_or_stand_still_stop_no_video_and_are_counted(tmp_path):
    stamps = [STAMPS[0], STAMPS[0] + 10**8, STAMPS[0] - 10**10, STAMPS[0] + 10**15, 7]
    bag = write(tmp_path / 'drive', [*range(5)], [*range(5)], stamps)
    answer = call('bag', 'video', bag, '-o', tmp_path / 'a.mp4')
    assert 'hours after: 3' in answer.stdout
    times = [time for time, _ in read(tmp_path / 'a.mp4')]
    assert times == pytest.approx([0, 0.1, 0.1333, 0.1667, 0.2], abs=1e-3)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (
            {'images': [0], 'labels': [1]},
            'No image of /camera/image has a label image of its stamp',
        ),
        ({'labels': [1]}, 'give that one, and this as --results'),
        ({'images': [0]}, 'has no panoptic label images'),
        ({'images': [0], 'labels': [0], 'told': False}, 'does not say what its labels mean'),
    ],
)
def test_where_there_is_nothing_to_show_one_sentence_says_why(tmp_path, options, sentence):
    answer = call('bag', 'video', write(tmp_path / 'a', **options), '-o', tmp_path / 'a.mp4')
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert not (tmp_path / 'a.mp4').exists()


@pytest.mark.parametrize(('option', 'value'), [('--width', 3), ('--alpha', 2)])
def test_settings_that_make_no_video_are_refused(tmp_path, option, value):
    bag = write(tmp_path / 'drive', [0], [0])
    answer = call('bag', 'video', bag, '-o', tmp_path / 'a.mp4', option, value)
    assert (answer.returncode, f'The {option[2:]} is {value}' in answer.stderr) == (2, True)
