"""The frames of a recording are the frames that the camera published."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
import zstandard
from mcap.writer import IndexType
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from pdl_ros.bags import reader as bags
from pdl_ros.bags.bag import Bag
from pdl_ros.bags.messages import deserialize
from pdl_ros.errors import PdlError
from pdl_ros.sources.source import open_source
from test.conftest import SHARED

from .recordings import (
    COMPRESSED,
    FORMATS,
    IMAGE,
    PERIOD,
    START,
    STORE,
    McapFile,
    data_file,
    frame,
    record,
    record_mcap,
    record_ros1,
    serialized,
)

PROTOBUF = b'\n\xff\xfe'
FAULTS = SHARED / 'data' / 'faults'


def assert_frames(source: str | Path, numbers=range(4)) -> None:
    """Assert that a source gives the frames of these numbers, says so many, and says 10 Hz."""
    opened = open_source(str(source))
    np.testing.assert_array_equal(list(opened), [frame(number) for number in numbers])
    assert (opened.name, opened.length) == ('/image', len(numbers))
    assert opened.fps == pytest.approx(10)


def warnings_of(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == 'pdl_ros.bags']


# --- What recorders write when all goes well ---


@pytest.mark.parametrize('plugin', FORMATS)
@pytest.mark.parametrize('compression', [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_frames_come_in_order_as_rgb_with_their_rate_and_number(
    tmp_path, plugin, compression, caplog
):
    bag = record(tmp_path / 'drive', {'/image': 'bgr8'}, plugin=plugin, compression=compression)
    source = open_source(str(bag))
    assert (source.name, source.length, round(source.fps, 3)) == ('/image', 4, 10.0)
    for _ in range(2):  # a source plays again from the start
        np.testing.assert_array_equal(list(source), [frame(i) for i in range(4)])
    assert not warnings_of(caplog)


@pytest.mark.parametrize('plugin', FORMATS)
def test_a_bag_file_without_its_folder_is_read(tmp_path, plugin, caplog):
    file = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}, plugin=plugin))
    assert_frames(shutil.move(file, tmp_path / f'alone{file.suffix}'))
    assert not warnings_of(caplog)


@pytest.mark.parametrize(
    'options',
    [
        {'compression': 'none'},
        {'compression': 'lz4'},
        {'use_chunking': False},
        {'use_statistics': False},
        {'use_summary_offsets': False},
        {'repeat_channels': False},
        {'repeat_schemas': False},
        {'index_types': IndexType.NONE},
        {'index_types': IndexType.CHUNK},
        {'index_types': IndexType.MESSAGE},
        {'profile': ''},
    ],
    ids=str,
)
def test_an_mcap_may_lack_every_part_of_its_index(tmp_path, options, caplog):
    assert_frames(record_mcap(tmp_path / 'drive.mcap', **options), range(12))
    assert not warnings_of(caplog)


@pytest.mark.parametrize('compression', ['', 'bz2', 'lz4'])
def test_a_bag_of_ros_1_is_read(tmp_path, compression, caplog):
    assert_frames(record_ros1(tmp_path / 'drive.bag', compression))
    assert not warnings_of(caplog)


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


@pytest.mark.parametrize('plugin', FORMATS)
def test_a_camera_that_never_published_is_no_endless_source_of_nothing(tmp_path, plugin):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'}, frames=0, plugin=plugin)
    with pytest.raises(PdlError, match='has no messages on /image'):
        open_source(str(bag))


def test_of_two_cameras_the_one_that_published_is_meant(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    file.topic('/rear/image')
    assert_frames(file.frames(file.topic('/image')).finish())


def test_an_image_that_is_depth_is_named_with_its_place(tmp_path):
    bag = record(tmp_path / 'drive', {'/depth': '16UC1'})
    with pytest.raises(PdlError, match="/depth, image 1: Encoding '16UC1' carries depth"):
        list(open_source(str(bag)))


def test_without_rosbags_the_extra_is_named(tmp_path, monkeypatch):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'})
    monkeypatch.setattr('pdl_ros.errors.find_spec', lambda _: None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[bag\]'"):
        bags.ImageTopic.open(bag)


def test_a_topic_may_have_been_recorded_without_its_slash(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    path = file.frames(file.topic('cam/image')).finish()
    assert open_source(f'{path}:/cam/image').name == 'cam/image'


# --- Foreign, broken and missing definitions ---

FOREIGN = {
    'protobuf': ('my.Odd', PROTOBUF, 'protobuf', 'protobuf'),
    'json': ('Odd', '{', 'jsonschema', 'json'),
    'flatbuffer': ('Odd', b'\0\1\xff', 'flatbuffer', 'flatbuffer'),
    'unknown': ('my_msgs/msg/Odd', '', 'unknown', 'cdr'),
    'no encoding': ('my_msgs/msg/Odd', '', '', 'cdr'),
    'idl': ('my_msgs/msg/Odd', 'module my_msgs { struct', 'ros2idl', 'cdr'),
    'omg idl': ('my_msgs/msg/Odd', '@', 'omgidl', 'cdr'),
    'no schema': (None, '', '', 'cdr'),
    'no sentence': ('my_msgs/msg/Odd', 'this is (no definition', 'ros2msg', 'cdr'),
    'unknown field': ('my_msgs/msg/Odd', 'other_msgs/Missing field', 'ros2msg', 'cdr'),
    'empty': ('my_msgs/msg/Odd', '', 'ros2msg', 'cdr'),
    'not text': ('my_msgs/msg/Odd', b'\xff\xfe', 'ros2msg', 'cdr'),
    'no ROS name': ('an Odd; import os', 'uint8 a', 'ros2msg', 'cdr'),
    'no name': ('', 'uint8 a', 'ros2msg', 'cdr'),
    'ros 1': ('my_msgs/Odd', 'Header header', 'ros1msg', 'ros1'),
    'another header': (
        'my_msgs/msg/Odd',
        f'std_msgs/Header header\n{"=" * 80}\nMSG: std_msgs/Header\nuint8 other',
        'ros2msg',
        'cdr',
    ),
}


@pytest.mark.parametrize('kind', FOREIGN)
@pytest.mark.parametrize('messages', [0, 1])
def test_a_foreign_topic_is_nobodys_business_until_it_is_asked_for(tmp_path, kind, messages):
    file = McapFile(tmp_path / 'drive.mcap')
    name, definition, schema_encoding, encoding = FOREIGN[kind]
    odd = file.topic('/odd', name, definition, schema_encoding, encoding)
    for _ in range(messages):
        file.write(odd, START, b'\x01odd')
    path = file.frames(file.topic('/image')).finish()
    assert_frames(path)
    assert_frames(f'{path}:/image')
    with pytest.raises(PdlError, match=r'no images on /odd, which has .*its image topics: /image'):
        open_source(f'{path}:/odd')


@pytest.mark.parametrize('part', ['name', 'encoding', 'topic'])
def test_a_foreign_topic_may_have_names_that_are_no_text(tmp_path, part):
    values = {'name': 'my_msgs/msg/QQQQ', 'encoding': 'QQQQ', 'topic': '/QQQQ'}
    file = McapFile(tmp_path / 'drive.mcap', enable_crcs=False, compression='none')
    odd = file.topic(
        values['topic'] if part == 'topic' else '/odd',
        values['name'] if part == 'name' else 'my_msgs/msg/Odd',
        '',
        values['encoding'] if part == 'encoding' else 'ros2msg',
    )
    file.write(odd, START, b'odd')
    path = file.frames(file.topic('/image')).finish()
    path.write_bytes(path.read_bytes().replace(b'QQQQ', b'\xff\xfe\xff\xfe'))
    assert_frames(path)


@pytest.mark.parametrize(
    ('definition', 'encoding'),
    [
        ('', ''),
        ('', 'unknown'),
        ('', 'ros2msg'),
        (b'\xff', 'protobuf'),
        ('this is (no definition', 'ros2msg'),
        ('other_msgs/Missing field', 'ros2msg'),
        ('module sensor_msgs {', 'ros2idl'),
        ('uint8 other', 'ros2msg'),
    ],
)
@pytest.mark.parametrize('kind', [IMAGE, COMPRESSED, 'sensor_msgs/msg/CameraInfo'])
def test_messages_of_a_standard_type_are_read_whatever_their_definition(
    tmp_path, kind, definition, encoding
):
    file = McapFile(tmp_path / 'drive.mcap')
    channel = file.topic('/topic', kind, definition, encoding)
    types = STORE.types
    numbers = {
        name: np.arange(size, dtype=float)
        for name, size in [('d', 5), ('k', 9), ('r', 9), ('p', 12)]
    }
    header = types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](sec=1, nanosec=2), 'camera'
    )
    sent = {
        IMAGE: lambda: types[IMAGE](header, 1, 1, 'mono8', 0, 1, np.array([7], np.uint8)),
        COMPRESSED: lambda: types[COMPRESSED](header, 'png', np.array([7], np.uint8)),
        'sensor_msgs/msg/CameraInfo': lambda: types['sensor_msgs/msg/CameraInfo'](
            header, 24, 32, 'plumb_bob', *numbers.values(), 0, 0,
            types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False),
        ),
    }[kind]()  # fmt: skip
    file.write(channel, START, bytes(STORE.serialize_cdr(sent, kind)))
    bag = Bag(file.finish())
    ((topic, time, _raw),) = bag.messages(bag.topics)
    assert (topic.type, topic.count, time) == (kind, 1, START)
    assert str(deserialize(next(bag.messages(bag.topics)))) == str(sent)


def test_two_definitions_of_one_type_do_no_harm(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    for name, definition in (('/a', 'uint8 a'), ('/b', 'string b\nfloat32 c')):
        file.write(file.topic(name, 'my_msgs/msg/Odd', definition), START, b'odd')
    assert_frames(file.frames(file.topic('/image')).finish())


@pytest.mark.parametrize(
    ('encoding', 'definition'),
    [('unknown', ''), ('ros2msg', 'no (definition'), ('ros2idl', ''), (None, None)],
)
def test_definitions_and_hashes_of_an_sqlite_bag_are_not_believed(tmp_path, encoding, definition):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8', '/odd': 'rgb8'})
    with sqlite3.connect(data_file(bag)) as database:
        database.execute('UPDATE topics SET type = "my msgs" WHERE name = "/odd"')
        if 'type_description_hash' in {c[1] for c in database.execute('PRAGMA table_info(topics)')}:
            database.execute('UPDATE topics SET type_description_hash = "RIHS01_00"')
        if encoding is None:
            database.execute('DROP TABLE message_definitions')
        else:
            database.execute(
                'UPDATE message_definitions SET encoding = ?, encoded_message_definition = ?',
                (encoding, definition),
            )
    assert_frames(bag)
    with pytest.raises(PdlError, match='no images on /odd, which has my msgs'):
        open_source(f'{bag}:/odd')


def test_images_in_a_foreign_encoding_are_refused_in_a_sentence(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    file.write(file.topic('/image', IMAGE, '{}', 'jsonschema', 'json'), START, b'{}')
    path = file.finish()
    with pytest.raises(PdlError, match=r'no image topic; its topics: /image \(.*Image as json\)\.'):
        open_source(str(path))


def test_names_in_a_bag_cannot_write_on_the_terminal(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    file.topic('/\x1b[2J\n/image')
    file.topic('/odd', 'my\nOdd', '', '', 'cdr\x07')
    path = file.frames(file.topic('/image')).frames(file.topic('/\x1b[31mred')).finish()
    for source in (str(path), f'{path}:/odd'):
        with pytest.raises(PdlError) as refusal:
            open_source(source)
        assert str(refusal.value).isprintable()


# --- The camera's rate, and the order of frames ---


@pytest.mark.parametrize('plugin', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('time', [0, START - 3600 * 10**9, START + 10**12])
def test_the_rate_is_the_cameras_and_not_the_bags(tmp_path, plugin, time):
    if plugin == 'mcap':
        file = McapFile(tmp_path / 'drive.mcap')
        file.write(file.topic('/chat', 'std_msgs/msg/String', 'string data'), time, b'\0\1\0\0')
        path = file.frames(file.topic('/image')).finish()
    else:
        path = record(tmp_path / 'drive', {'/image': 'rgb8', '/chat': 'jpeg'}, frames=4)
        with sqlite3.connect(data_file(path)) as database:
            database.execute(f'UPDATE messages SET timestamp = {time} WHERE topic_id = 2')
        path = f'{path}:/image'
    assert_frames(path)


@pytest.mark.parametrize(
    ('times', 'rate'),
    [
        ([0, 1, 2, 3, 100, 101, 102], 10),  # a pause
        ([0, 0.9, 2.1, 2.9, 4.1, 5], 10),  # jitter
        ([0], 10),
        ([5, 5, 5], 10),  # recorded before there was a clock
        ([0, 0.4, 0.8, 1.2], 25),
    ],
)
def test_the_rate_is_what_the_camera_does_most_of_the_time(tmp_path, times, rate):
    file = McapFile(tmp_path / 'drive.mcap')
    channel = file.topic('/image')
    for time in times:
        file.write(channel, START + int(time * PERIOD), serialized(0))
    assert open_source(str(file.finish())).fps == pytest.approx(rate, rel=0.15)


def test_the_index_tells_number_and_rate_without_a_look_at_the_pixels(tmp_path, monkeypatch):
    path = record_mcap(tmp_path / 'drive.mcap')
    monkeypatch.setattr('pdl_ros.bags.mcap_storage.unpack', lambda *_: pytest.fail('unpacked'))
    source = open_source(str(path))
    assert (source.length, source.fps) == (12, pytest.approx(10))


@pytest.mark.parametrize('chunking', [True, False])
def test_frames_come_in_the_order_of_their_log_time(tmp_path, chunking):
    file = McapFile(tmp_path / 'drive.mcap', chunk_size=6000, use_chunking=chunking)
    file.frames(file.topic('/image'), [3, 0, 5, 1, 7, 2, 6, 4])
    assert_frames(file.finish(), range(8))


def test_two_publishers_of_one_topic_are_one_camera(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    first, second = file.topic('/image', definition='a'), file.topic('/image', definition='b')
    assert first != second
    assert_frames(file.frames(first, [0, 2]).frames(second, [1, 3], 'bgr8').finish())


def test_a_topic_of_two_types_is_refused_in_a_sentence(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    file.frames(file.topic('/image')).frames(file.topic('/image', COMPRESSED), encoding='jpeg')
    path = file.finish()
    with pytest.raises(PdlError, match=r'two types on /image \(.*CompressedImage and .*Image\)'):
        open_source(f'{path}:/image')
    with pytest.raises(PdlError, match='two types on /image'):
        open_source(str(path))


# --- Folders ---


def split(folder: Path, plugin=StoragePlugin.MCAP, parts: int = 12) -> Path:
    """A bag in parts of one frame each, as if recorded with a maximum duration."""
    folder.mkdir()
    names = []
    for number in range(parts):
        bag = record(folder / 'part', {'/image': 'rgb8'}, range(number, number + 1), plugin)
        file = data_file(bag)
        names.append(f'drive_{number}{file.suffix}')
        file.rename(folder / names[-1])
        shutil.rmtree(bag)
    describe(folder, relative_file_paths=names)
    return folder


def describe(folder: Path, **fields) -> None:
    """Write fields of metadata.yaml over those that are there."""
    path = folder / 'metadata.yaml'
    known = yaml.safe_load(path.read_text()) if path.exists() else {}
    information = known.get('rosbag2_bagfile_information', {'version': 9})
    path.write_text(yaml.safe_dump({'rosbag2_bagfile_information': {**information, **fields}}))


@pytest.mark.parametrize('plugin', FORMATS)
@pytest.mark.parametrize('metadata', [True, False])
def test_the_parts_of_a_recording_are_played_in_order(tmp_path, plugin, metadata, caplog):
    bag = split(tmp_path / 'drive', plugin)
    if not metadata:
        (bag / 'metadata.yaml').unlink()
    assert_frames(bag, range(12))
    assert [
        re.search('has no metadata.yaml', text) is not None for text in warnings_of(caplog)
    ] == ([] if metadata else [True])


def test_parts_recorded_before_there_was_a_clock_are_in_the_order_of_their_numbers(tmp_path):
    bag = split(tmp_path / 'drive', StoragePlugin.SQLITE3)
    (bag / 'metadata.yaml').unlink()
    for file in bag.iterdir():
        with sqlite3.connect(file) as database:
            database.execute('UPDATE messages SET timestamp = 0')
    np.testing.assert_array_equal(list(open_source(str(bag))), [frame(i) for i in range(12)])


@pytest.mark.parametrize(
    'fields',
    [
        {'storage_identifier': ''},
        {'storage_identifier': 'my_plugin'},
        {'version': 1},
        {'version': 99},
        {'version': 'new'},
        {'compression_format': 'fake_comp', 'compression_mode': 'FILE'},
        {'message_count': 0, 'topics_with_message_count': []},
        {'topics_with_message_count': None, 'files': 3},
        {'duration': None, 'starting_time': None},
    ],
    ids=str,
)
@pytest.mark.parametrize('plugin', FORMATS)
def test_metadata_of_any_version_and_plugin_does_no_harm(tmp_path, plugin, fields, caplog):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'}, plugin=plugin)
    describe(bag, **fields)
    assert_frames(bag)
    assert not warnings_of(caplog)


@pytest.mark.parametrize(
    'text',
    [
        b'rosbag2_bagfile_information',
        b'rosbag2_bagfile_information:\n  relative_file_paths: 3',
        b'rosbag2_bagfile_information: !!python/object/apply:os.system ["false"]',
        b'rosbag2_bagfile_information: "\xff\xfe"',
        b'rosbag2_bagfile_information: ' + b'[' * 5000,
        b'rosbag2_bagfile_information: {a: &a [*a, *a]',
        b'',
    ],
    ids=lambda text: str(text[:60]),
)
def test_metadata_that_cannot_be_read_are_done_without(tmp_path, text, caplog):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'})
    (bag / 'metadata.yaml').write_bytes(text)
    assert_frames(bag)
    (warning,) = warnings_of(caplog)
    assert 'metadata.yaml cannot be read' in warning


@pytest.mark.parametrize('listed', [['lost.mcap'], ['drive_0.mcap', 'lost.mcap']])
def test_files_that_were_renamed_are_found(tmp_path, listed, caplog):
    bag = split(tmp_path / 'drive', parts=4)
    describe(bag, relative_file_paths=listed)
    assert_frames(bag)
    (warning,) = warnings_of(caplog)
    assert re.search(r'not there \(lost\.mcap\); those there are read: 4', warning)


def test_files_that_metadata_does_not_list_are_left_alone(tmp_path):
    bag = split(tmp_path / 'drive', parts=4)
    shutil.copy(bag / 'drive_0.mcap', bag / 'copy.mcap')
    assert_frames(bag)


@pytest.mark.parametrize('listed', ['drive/drive_0.mcap', '/home/me/drive/drive_0.mcap'])
def test_the_folders_in_the_paths_of_early_versions_do_not_count(tmp_path, listed):
    bag = split(tmp_path / 'drive', parts=1)
    describe(bag, relative_file_paths=[listed])
    assert_frames(bag, range(1))


@pytest.mark.parametrize(
    'outside', ['../other/other.mcap', '../../etc/passwd', '/etc/passwd', '..']
)
def test_files_outside_of_the_folder_are_not_touched(tmp_path, outside):
    bag = split(tmp_path / 'drive', parts=1)
    record_mcap(tmp_path / 'other.mcap')
    describe(bag, relative_file_paths=[outside])
    with pytest.raises(
        PdlError, match=r"metadata\.yaml lists '.*', which is outside of its folder"
    ):
        open_source(str(bag))


def test_a_part_that_cannot_be_read_costs_only_itself(tmp_path, caplog):
    bag = split(tmp_path / 'drive', parts=4)
    (bag / 'drive_3.mcap').write_bytes(b'')
    assert_frames(bag, range(3))
    (warning,) = warnings_of(caplog)
    assert re.search(r'drive_3\.mcap cannot be read as a rosbag: it is empty', warning)


def test_what_other_systems_leave_beside_files_is_no_part(tmp_path, caplog):
    bag = split(tmp_path / 'drive', parts=4)
    (bag / 'metadata.yaml').write_text('')
    (bag / '._drive_0.mcap').write_bytes(b'\0\5\x16\7Mac OS X')
    (bag / 'drive_4.mcap').mkdir()
    assert_frames(bag)
    assert len(warnings_of(caplog)) == 1


def test_a_folder_of_pictures_in_which_a_recording_lies_is_one_of_pictures(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), frame(1))
    record_mcap(tmp_path / 'drive.mcap')
    (tmp_path / 'metadata.yaml').write_text('licence: mine')
    assert open_source(str(tmp_path)).length == 1


@pytest.mark.parametrize('plugin', FORMATS)
@pytest.mark.parametrize('suffix', ['.zstd', '.zst'])
def test_a_compressed_data_file_is_read_without_its_folder(tmp_path, plugin, suffix, caplog):
    file = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}, plugin=plugin))
    packed = tmp_path / f'{file.name}{suffix}'
    packed.write_bytes(zstandard.compress(file.read_bytes()))
    before = sorted(tmp_path.iterdir())
    assert_frames(packed)
    assert sorted(tmp_path.iterdir()) == before
    assert not warnings_of(caplog)


def test_a_compressed_file_that_was_unpacked_too_is_played_once(tmp_path):
    record_mcap(tmp_path / 'drive.mcap')
    packed = zstandard.compress((tmp_path / 'drive.mcap').read_bytes())
    (tmp_path / 'drive.mcap.zstd').write_bytes(packed)
    assert_frames(tmp_path, range(12))


def test_unpacked_files_do_not_stay(tmp_path, monkeypatch):
    packed = tmp_path / 'drive.mcap.zstd'
    packed.write_bytes(zstandard.compress(record_mcap(tmp_path / 'drive.mcap').read_bytes()))
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'tmp'))
    assert_frames(packed, range(12))
    assert not list((tmp_path / 'tmp').iterdir())


# --- The bags that were reported ---


@pytest.mark.skipif(not FAULTS.is_dir(), reason='needs the data that is not shipped (faults)')
@pytest.mark.parametrize(
    ('name', 'length'),
    [
        ('foreign_protobuf.mcap', 4),
        ('foreign_unknown.mcap', 4),
        ('chat_at_time_zero.mcap', 4),
        ('no_metadata', 4),
        ('cut_off.mcap', 8),
    ],
)
def test_reported_bags_are_read(name, length):
    source = open_source(str(FAULTS / name))
    assert (source.name, source.fps, source.length) == ('/image', pytest.approx(10), length)
    frames = list(source)
    assert len(frames) == length
    for number, rgb in enumerate(frames[:4]):
        right = cv2.imread(str(FAULTS / 'expected' / f'frame_{number}.png'))
        np.testing.assert_array_equal(rgb, right[..., ::-1])


def test_a_recording_of_ros_1_in_an_mcap_says_what_converts_it(tmp_path):
    path = McapFile(tmp_path / 'drive.mcap', profile='ros1').finish()
    with pytest.raises(PdlError, match=r'of ROS 1: convert .* with rosbags-convert --src'):
        open_source(str(path))


def test_images_of_ros_1_in_an_mcap_are_read(tmp_path):
    from .recordings import ROS1, message

    file = McapFile(tmp_path / 'drive.mcap', profile='ros1')
    channel = file.topic('/image', 'sensor_msgs/Image', 'Header header', 'ros1msg', 'ros1')
    for number in range(4):
        raw = ROS1.serialize_ros1(message(number, store=ROS1), IMAGE)
        file.write(channel, START + number * PERIOD, bytes(raw))
    assert_frames(file.finish())
