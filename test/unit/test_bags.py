"""The frames of a recording are the frames that the camera published."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from pdl_ros.bags import reader as bags
from pdl_ros.errors import PdlError
from pdl_ros.sources.source import open_source

STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = STORE.types
FORMATS = [StoragePlugin.SQLITE3, StoragePlugin.MCAP]


def frame(number: int) -> np.ndarray:
    """A picture of its own, smooth enough for JPEG."""
    rows, columns = np.mgrid[:24, :32]
    return np.stack([rows * 8, columns * 6, np.full_like(rows, 40 * number)], -1).astype(np.uint8)


def record(path: Path, topics: dict[str, str], frames: int = 4, plugin=FORMATS[0]) -> Path:
    """Write a bag with an image topic in an encoding, or `jpeg`, for each name, at 10 Hz."""
    stamp = TYPES['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
    header = TYPES['std_msgs/msg/Header'](stamp=stamp, frame_id='camera')
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for topic, encoding in topics.items():
            kind = f'sensor_msgs/msg/{"CompressedImage" if encoding == "jpeg" else "Image"}'
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for number in range(frames):
                rgb = frame(number)
                bgr = np.ascontiguousarray(rgb[..., ::-1])
                if encoding == 'jpeg':
                    message = TYPES[kind](header, 'jpeg', cv2.imencode('.jpg', bgr)[1])
                else:
                    pixels = bgr if encoding == 'bgr8' else rgb
                    message = TYPES[kind](header, 24, 32, encoding, 0, 96, pixels.reshape(-1))
                raw = STORE.serialize_cdr(message, kind)
                writer.write(connection, 10**9 + number * 10**8, raw)
    return path


@pytest.mark.parametrize('plugin', FORMATS)
def test_frames_come_in_order_as_rgb_with_their_rate_and_number(tmp_path, plugin):
    source = open_source(str(record(tmp_path / 'drive', {'/image': 'bgr8'}, plugin=plugin)))
    assert (source.name, source.length, round(source.fps, 3)) == ('/image', 4, 10.0)
    for _ in range(2):  # a source plays again from the start
        np.testing.assert_array_equal(list(source), [frame(i) for i in range(4)])


def test_a_bag_file_without_its_folder_is_read(tmp_path):
    folder = record(tmp_path / 'drive', {'/image': 'rgb8'}, plugin=StoragePlugin.MCAP)
    (file,) = folder.glob('*.mcap')
    alone = shutil.move(file, tmp_path / 'alone.mcap')
    np.testing.assert_array_equal(list(open_source(str(alone))), [frame(i) for i in range(4)])


def test_compressed_images_are_decoded(tmp_path):
    source = open_source(str(record(tmp_path / 'drive', {'/image/compressed': 'jpeg'})))
    for number, rgb in enumerate(source):
        assert np.abs(rgb.astype(int) - frame(number)).mean() < 4


def test_of_several_topics_one_is_named(tmp_path):
    bag = record(tmp_path / 'drive', {'/left/image': 'rgb8', '/right/image': 'bgr8'})
    with pytest.raises(PdlError, match=r'2 image topics \(/left/image, /right/image\); name one'):
        open_source(str(bag))
    assert open_source(f'{bag}:/right/image').name == '/right/image'
    with pytest.raises(PdlError, match='no images on /rear; its image topics: /left/image, /right'):
        open_source(f'{bag}:/rear')


def test_a_bag_without_images_says_so(tmp_path):
    with pytest.raises(PdlError, match='has no image topic'):
        open_source(str(record(tmp_path / 'drive', {})))


def test_an_image_that_is_depth_is_named_with_its_place(tmp_path):
    bag = record(tmp_path / 'drive', {'/depth': '16UC1'})
    with pytest.raises(PdlError, match="/depth, image 1: Encoding '16UC1' carries depth"):
        list(open_source(str(bag)))


@pytest.mark.parametrize('plugin', FORMATS)
def test_a_bag_damaged_anywhere_is_one_sentence(tmp_path, plugin):
    whole = record(tmp_path / 'drive', {'/image': 'rgb8'}, plugin=plugin)
    (file,) = (p for p in whole.iterdir() if p.suffix != '.yaml')
    data = file.read_bytes()
    seen, refusals = 0, []
    for size in range(0, len(data), max(len(data) // 25, 1)):
        file.write_bytes(data[:size])
        try:
            seen += len(list(open_source(str(whole))))
        except PdlError as error:
            refusals.append(str(error))
    assert seen < 25 * 4
    assert refusals
    assert all('as a rosbag: ' in text or 'is damaged: ' in text for text in refusals)


def test_without_rosbags_the_extra_is_named(tmp_path, monkeypatch):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'})
    monkeypatch.setattr('pdl_ros.errors.find_spec', lambda _: None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[bag\]'"):
        bags.ImageTopic.open(bag)
