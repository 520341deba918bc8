"""What can be read of a damaged recording is in a whole one afterwards, as it was."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
import yaml
from mcap.reader import make_reader
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.qos import LATCHED, OfferedQos, parse_qos
from pdl_ros.bags.types import definition
from pdl_ros.bags.writer import BagWriter

from .recordings import (
    FORMATS,
    IMAGE,
    PERIOD,
    START,
    STORE,
    McapFile,
    data_file,
    record,
    record_mcap,
    record_ros1,
    serialized,
)
from .test_cli import call

PROTOBUF = b'\n\xff\xfe\0\x80'


def contents(path: Path) -> list[tuple[str, str, int, bytes]]:
    bag = Bag(path)
    return [(m.topic.name, m.topic.type, m.log_time, m.data) for m in bag.messages(bag.topics)]


def repair(bag: Path, out: Path, *options: str):
    return call('bag', 'repair', bag, '-o', out, *options)


def assert_whole(bag: Path, count: int) -> None:
    """Assert that others than our reader find the messages, by index and metadata."""
    assert Bag(bag).is_whole
    with AnyReader([bag], default_typestore=STORE) as reader:
        assert sum(1 for _ in reader.messages()) == count
    with data_file(bag).open('rb') as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    assert summary.statistics.message_count == count


@pytest.mark.parametrize('keep', [0.4, 0.8, 0.99])
@pytest.mark.parametrize('compression', ['none', 'zstd'])
def test_an_mcap_without_its_end_is_whole_afterwards(tmp_path, keep, compression):
    path = record_mcap(tmp_path / 'drive.mcap', compression)
    everything = contents(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    right = contents(path)
    assert right == everything[: len(right)]
    answer = repair(path, tmp_path / 'out')
    assert answer.returncode == 1
    assert f'{len(right)} messages of 1 topics are saved.' in answer.stdout
    assert 'lost, however much it was:' in answer.stdout
    assert contents(tmp_path / 'out') == right
    assert_whole(tmp_path / 'out', len(right))


def test_a_torn_sqlite_file_is_whole_afterwards(tmp_path):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}, 40))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 + 100])
    right = contents(path)
    assert 5 < len(right) < 40
    assert repair(path, tmp_path / 'out').returncode == 1
    assert contents(tmp_path / 'out') == right
    assert_whole(tmp_path / 'out', len(right))


@pytest.mark.parametrize('plugin', FORMATS)
def test_where_only_metadata_is_missing_nothing_is_lost(tmp_path, plugin):
    bag = record(tmp_path / 'drive', {'/left': 'rgb8', '/right': 'jpeg'}, plugin=plugin)
    right = contents(bag)
    (bag / 'metadata.yaml').unlink()
    answer = repair(bag, tmp_path / 'out')
    assert answer.returncode == 0, answer.stderr
    assert 'It has a metadata.yaml now' in answer.stdout
    assert 'Nothing was lost.' in answer.stdout
    assert contents(tmp_path / 'out') == right
    assert_whole(tmp_path / 'out', 8)


def test_a_damaged_chunk_costs_its_messages_and_is_counted(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap', 'none')
    data = bytearray(path.read_bytes())
    at = data.index(serialized(4)[60:])
    data[at : at + 8] = b'\xff' * 8  # its checksum does not fit any more
    path.write_bytes(bytes(data))
    answer = repair(path, tmp_path / 'out')
    assert answer.returncode == 1
    saved = contents(tmp_path / 'out')
    assert 8 <= len(saved) < 12
    assert f'damaged messages of /image: {12 - len(saved)}' in answer.stdout
    assert {m[3] for m in saved} <= {serialized(number) for number in range(12)}


def test_foreign_topics_are_copied_with_their_schemas_to_the_last_byte(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    odd = file.topic('/odd', 'my.Odd', PROTOBUF, 'protobuf', 'protobuf')
    other = file.topic('/idl', 'foxglove::CompressedVideo', 'module x {', 'omgidl', 'cdr')
    nothing = file.topic('/nothing', None, '', '', 'json')
    for number, channel in enumerate((odd, other, nothing)):
        file.write(channel, START + number, b'\x00\xff%d' % number)
    path = file.frames(file.topic('/image')).finish()
    assert repair(path, tmp_path / 'out').returncode == 0
    with data_file(tmp_path / 'out').open('rb') as opened:
        found = {
            channel.topic: (
                schema and schema.name,
                schema and schema.data,
                channel.message_encoding,
            )
            for schema, channel, _ in make_reader(opened).iter_messages()
        }
    assert found['/odd'] == ('my.Odd', PROTOBUF, 'protobuf')
    assert found['/idl'] == ('foxglove::CompressedVideo', b'module x {', 'cdr')
    assert found['/nothing'][2] == 'json'
    assert sorted(contents(tmp_path / 'out')) == sorted(contents(path))


def test_qos_and_type_hashes_are_kept(tmp_path):
    offered = OfferedQos('best_effort', 'volatile', 'unknown', 7)
    with BagWriter(tmp_path / 'drive') as writer:
        image = writer.add_topic('/image', IMAGE, [offered, LATCHED])
        writer.write(image, START, serialized(0))
    (tmp_path / 'drive' / 'metadata.yaml').unlink()
    assert repair(tmp_path / 'drive', tmp_path / 'out').returncode == 0
    text = (tmp_path / 'out' / 'metadata.yaml').read_text()
    (topic,) = yaml.safe_load(text)['rosbag2_bagfile_information']['topics_with_message_count']
    found = topic['topic_metadata']
    assert found['type_description_hash'] == definition(IMAGE).type_hash
    assert parse_qos(yaml.safe_dump(found['offered_qos_profiles'])) == (offered, LATCHED)


def test_the_qos_of_an_sqlite_file_is_kept(tmp_path):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}))
    humble = '- history: 1\n  depth: 3\n  reliability: 2\n  durability: 1\n  deadline: {sec: 1}\n'
    with sqlite3.connect(path) as database:
        database.execute('UPDATE topics SET offered_qos_profiles = ?', (humble,))
    repair(path, tmp_path / 'out')
    text = (tmp_path / 'out' / 'metadata.yaml').read_text()
    assert 'reliability: best_effort' in text
    assert 'durability: transient_local' in text
    assert 'depth: 3' in text


@pytest.mark.parametrize(
    'text',
    ['', 'a: [', '[1, 2]', '- {history: 9}', '!!python/object:os.x {}', '- &a [*a]', '[' * 9000],
)
def test_qos_that_cannot_be_read_is_none(text):
    assert parse_qos(text) == ()


def test_a_recording_in_parts_of_which_one_is_no_file_any_more_is_one_whole(tmp_path):
    bag = tmp_path / 'drive'
    bag.mkdir()
    for number in range(3):
        part = record(tmp_path / 'part', {'/image': 'rgb8'}, range(number, number + 1),
                      StoragePlugin.MCAP)  # fmt: skip
        shutil.move(data_file(part), bag / f'drive_{number}.mcap')
        shutil.rmtree(part)
    (bag / 'drive_1.mcap').write_bytes(b'nothing')
    answer = repair(bag, tmp_path / 'out')
    assert answer.returncode == 1
    assert 'drive_1.mcap cannot be read' in answer.stdout
    times = [time for _, _, time, _ in contents(tmp_path / 'out')]
    assert times == [START, START + 2 * PERIOD]


def test_what_cannot_be_repaired_is_one_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / 'empty.mcap').write_bytes(b'')
    cut = record_mcap(tmp_path / 'drive.mcap')
    cut.write_bytes(cut.read_bytes()[:60])
    for path, sentence in (
        (tmp_path / 'empty.mcap', 'it is empty'),
        (cut, 'not one message can be read'),
        (record_ros1(tmp_path / 'old.bag'), 'of ROS 1, which stays one; mend it with'),
        (tmp_path / 'nowhere', 'is not there'),
    ):
        answer = repair(path, tmp_path / 'out')
        assert answer.returncode == 2
        assert sentence in answer.stderr
        assert not (tmp_path / 'out').exists()
    answer = repair(record_mcap(tmp_path / 'whole.mcap'), tmp_path)
    assert (answer.returncode, 'is there already' in answer.stderr) == (2, True)
