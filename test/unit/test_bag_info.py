"""`bag info` says what a recording holds and what can be made of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from pdl_ros.bags import decoders
from pdl_ros.bags.contents import contents_of
from pdl_ros.bags.types import message_class, serialize
from pdl_ros.bags.writer import BagWriter

from .recordings import (
    COMPRESSED,
    IMAGE,
    PERIOD,
    START,
    McapFile,
    record,
    record_mcap,
    record_ros1,
    serialized,
)
from .test_cli import call
from .video_recordings import VIDEO, encode, video_message

INFO = 'sensor_msgs/msg/CameraInfo'


def camera_info() -> bytes:
    stamp = message_class('builtin_interfaces/msg/Time')(1, 2)
    header = message_class('std_msgs/msg/Header')(stamp, 'camera')
    roi = message_class('sensor_msgs/msg/RegionOfInterest')(0, 0, 0, 0, False)
    numbers = [np.zeros(n) for n in (5, 9, 9, 12)]
    return serialize(message_class(INFO)(header, 24, 32, 'plumb_bob', *numbers, 0, 0, roi))


def depth() -> bytes:
    stamp = message_class('builtin_interfaces/msg/Time')(1, 2)
    header = message_class('std_msgs/msg/Header')(stamp, 'camera')
    data = np.zeros(24 * 64, np.uint8)
    return serialize(message_class(IMAGE)(header, 24, 32, '16UC1', 0, 64, data))


@pytest.fixture
def drive(tmp_path) -> Path:
    """A recording of two cameras, one with depth, a video, and what cannot be processed."""
    with BagWriter(tmp_path / 'drive') as writer:
        add, count = writer.add_topic, 20
        topics = {
            add('/front/image', IMAGE): lambda n: serialized(n),
            add('/front/camera_info', INFO): lambda _: camera_info(),
            add('/front/depth', IMAGE): lambda _: depth(),
            add('/rear/image/compressed', COMPRESSED): lambda n: serialized(n, 'jpeg'),
            add('/odd', IMAGE): lambda n: serialized(n, 'strange9'),
        }
        video, packets = add('/video', VIDEO), encode('h264', count)
        add('/never', IMAGE)
        for number in range(count):
            for topic, make in topics.items():
                writer.write(topic, START + number * PERIOD, make(number))
            data = serialize(video_message(packets[number]))
            writer.write(video, START + number * PERIOD, data)
    return tmp_path / 'drive'


def test_every_topic_is_there_with_its_count_rate_first_picture_and_use(drive):
    found = contents_of(drive)
    by_name = {topic.name: topic for topic in found.topics}
    assert {name: topic.use for name, topic in by_name.items()} == {
        '/front/image': 'image',
        '/front/camera_info': 'camera_info',
        '/front/depth': 'depth',
        '/rear/image/compressed': 'image',
        '/odd': '',
        '/video': 'image',
        '/never': '',
    }
    for name, width, height, kind in (
        ('/front/image', 32, 24, 'rgb8'),
        ('/front/depth', 32, 24, '16UC1'),
        ('/rear/image/compressed', 32, 24, 'jpeg'),
        ('/video', 96, 64, 'h264'),
    ):
        topic = by_name[name]
        assert (topic.width, topic.height, topic.format) == (width, height, kind)
        assert topic.count == 20
        assert topic.rate == pytest.approx(10)
    assert 'strange9' in by_name['/odd'].why_not
    assert by_name['/never'].why_not == 'It has no messages.'
    assert found.duration == pytest.approx(1.9)
    assert (found.messages, found.start, found.damage) == (120, START, [])


def test_points_can_be_made_where_depth_and_calibration_are_there(drive):
    by_name = {topic.name: topic for topic in contents_of(drive).images}
    assert by_name['/front/image'].points == '/front/depth'
    assert by_name['/front/image'].camera_info == '/front/camera_info'
    assert by_name['/rear/image/compressed'].points == ''
    assert by_name['/rear/image/compressed'].no_points_without == 'depth images and camera_info'


def test_only_the_first_picture_of_a_topic_is_decoded(drive, monkeypatch):
    read: list[str] = []
    real = decoders.deserialize
    monkeypatch.setattr(decoders, 'deserialize', lambda m: (read.append(m.topic.name), real(m))[1])
    contents_of(drive)
    once = {'/front/image', '/rear/image/compressed', '/odd'}
    assert {name: read.count(name) for name in once} == dict.fromkeys(once, 1)
    assert read.count('/video') < 4
    assert len(read) < 9


def test_results_of_the_node_are_not_offered_as_images(tmp_path):
    with BagWriter(tmp_path / 'out') as writer:
        writer.add_topic('/panoptic/label_info', 'pdl_ros/msg/LabelInfo')
        overlay = writer.add_topic('/panoptic/front/overlay/image', IMAGE)
        writer.write(overlay, START, serialized(0))
    found = {topic.name: topic.use for topic in contents_of(tmp_path / 'out').topics}
    assert found['/panoptic/label_info'] == 'result'
    assert found['/panoptic/front/overlay/image'] == 'result'


@pytest.mark.parametrize(
    ('make', 'storage'),
    [
        (lambda p: record(p / 'a', {'/image': 'rgb8'}), 'sqlite3'),
        (
            lambda p: record(p / 'a', {'/image': 'rgb8'}, compression=CompressionMode.FILE),
            'sqlite3, zstd file',
        ),
        (
            lambda p: record(p / 'a', {'/image': 'rgb8'}, compression=CompressionMode.MESSAGE),
            'sqlite3, zstd messages',
        ),
        (lambda p: record_mcap(p / 'a.mcap', 'lz4'), 'mcap, lz4 chunks'),
        (lambda p: record_mcap(p / 'a.mcap', 'none'), 'mcap'),
        (lambda p: record_mcap(p / 'a.mcap', 'zstd', use_statistics=False), 'mcap, zstd chunks'),
        (lambda p: record_ros1(p / 'a.bag', 'bz2'), 'ROS 1, bz2 chunks'),
        (lambda p: record_ros1(p / 'a.bag'), 'ROS 1'),
        (
            lambda p: record(p / 'a', {'/image': 'rgb8'}, plugin=StoragePlugin.MCAP),
            'mcap',
        ),
    ],
)
def test_how_a_recording_is_stored_is_said(tmp_path, make, storage):
    found = contents_of(make(tmp_path))
    assert found.storage == [storage]
    assert [topic.name for topic in found.images] == ['/image']


def test_the_command_prints_a_table_whose_names_are_whole_in_a_pipe(drive):
    answer = call('bag', 'info', drive)
    assert answer.returncode == 0, answer.stderr
    for part in (
        '/rear/image/compressed   sensor_msgs/CompressedImage',
        '32x24 16UC1   depth',
        "/odd cannot be processed: Encoding 'strange9' is not supported",
        '/front/image: labelled points with /front/depth and /front/camera_info',
        f'Process it: pdl_ros bag run {drive} -o OUT; images: 3 topics',
    ):
        assert part in answer.stdout


def test_json_is_the_same_for_programs(drive):
    answer = call('bag', 'info', drive, '--json')
    assert json.loads(answer.stdout) == contents_of(drive).to_dict()


def test_what_is_damaged_is_said_and_is_status_1(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap')
    path.write_bytes(path.read_bytes()[:-500])
    answer = call('bag', 'info', path)
    assert answer.returncode == 1
    assert 'damaged:' in answer.stdout
    assert 'was cut off; messages that are whole, and are read: 12' in answer.stdout
    assert json.loads(call('bag', 'info', path, '--json').stdout)['damage']


def test_a_recording_of_other_things_is_described_too(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    odd = file.topic('/odd\x1b[2J[red]', 'my.Odd', b'\n\xff', 'protobuf', 'protobuf')
    file.write(odd, START, b'\x01')
    answer = call('bag', 'info', file.finish())
    assert answer.returncode == 0
    assert '/odd?[2J[red]' in answer.stdout
    assert 'my.Odd (protobuf)' in answer.stdout
    assert 'No topic of images can be processed.' in answer.stdout


@pytest.mark.parametrize('text', [b'', b'nothing of the kind'])
def test_what_is_no_recording_is_one_sentence_and_status_2(tmp_path, text):
    (tmp_path / 'a.mcap').write_bytes(text)
    for path in (tmp_path / 'a.mcap', tmp_path / 'nowhere'):
        answer = call('bag', 'info', path)
        assert (answer.returncode, answer.stdout) == (2, '')
        assert len(answer.stderr.splitlines()) == 1
