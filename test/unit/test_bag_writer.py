"""Recordings that are written are real ones: independent readers and rosbag2's own files agree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.qos import LATCHED, OfferedQos
from pdl_ros.bags.types import Definition, definition, message_class, own_definitions, serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.errors import PdlError

from .recordings import IMAGE, PERIOD, START, frame, serialized

LABEL_INFO, TIMING = 'pdl_ros/msg/LabelInfo', 'pdl_ros/msg/FrameTiming'
ARRAY = 'pdl_ros/msg/PanopticInstanceArray'


def header(number: int = 0):
    stamp = message_class('builtin_interfaces/msg/Time')(7, number)
    return message_class('std_msgs/msg/Header')(stamp, 'camera')


def label_info() -> bytes:
    colors = np.arange(6, dtype=np.uint8)
    things = np.array([False, True])
    return serialize(
        message_class(LABEL_INFO)(header(), 'two', ['road', 'car'], colors, things, 10, 255, 0, 9)
    )


def instances(number: int) -> bytes:
    box = message_class('sensor_msgs/msg/RegionOfInterest')(1, 2, 3, 4, False)
    mask = np.frombuffer(b'31212', np.uint8)
    scores = (0.5, 0.75, 0.25)
    thing = message_class('pdl_ros/msg/PanopticInstance')(
        number, 11, 1, 'car', *scores, 12, box, 1.5, 2.5, 'coco_rle', mask, 3, 4
    )
    road = message_class('pdl_ros/msg/SegmentInfo')(0, 'road', False, 99, 0)
    return serialize(message_class(ARRAY)(header(number), 24, 32, 10, 'two', [thing], [road]))


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """A bag of the node's topics: four frames, what is latched, and two files."""
    folder = tmp_path_factory.mktemp('written') / 'drive'
    with BagWriter(folder, max_bytes=3000, chunk_size=2000) as writer:
        labels = writer.add_topic('/panoptic_node/label_info', LABEL_INFO, LATCHED)
        things = writer.add_topic('/panoptic_node/instances', ARRAY)
        images = writer.add_topic('/image', IMAGE, OfferedQos('best_effort', depth=5))
        writer.write(labels, START, label_info())
        for number in range(4):
            writer.write(things, START + number * PERIOD, instances(number))
            writer.write(images, START + number * PERIOD, serialized(number))
            writer.flush()
    return folder


def test_rosbags_reads_what_was_written(bag):
    with AnyReader([bag]) as reader:
        connections = {connection.topic: connection for connection in reader.connections}
        latched = connections['/panoptic_node/label_info'].ext.offered_qos_profiles
        lossy = connections['/image'].ext.offered_qos_profiles
        assert [qos.durability for qos in latched] == [QosDurability.TRANSIENT_LOCAL]
        assert [(qos.reliability, qos.depth) for qos in lossy] == [(QosReliability.BEST_EFFORT, 5)]
        # By the definitions in the file: this reader knows no pdl_ros.
        wanted = [connections['/panoptic_node/instances']]
        read = [
            (time, reader.deserialize(raw, connection.msgtype))
            for connection, time, raw in reader.messages(wanted)
        ]
    assert [time for time, _ in read] == [START + number * PERIOD for number in range(4)]
    assert [message.instances[0].id for _, message in read] == [0, 1, 2, 3]
    assert bytes(read[0][1].instances[0].mask_data) == b'31212'


def test_mcaps_own_reader_of_ros_2_reads_what_was_written(bag):
    read = []
    for file in sorted(bag.glob('*.mcap')):
        with file.open('rb') as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            read += [
                (schema.name, message.log_time, decoded)
                for schema, _, message, decoded in reader.iter_decoded_messages()
            ]
    names = [name for name, _, _ in read]
    assert (names.count(ARRAY), names.count(IMAGE), names.count(LABEL_INFO)) == (4, 4, 1)
    info = next(decoded for name, _, decoded in read if name == LABEL_INFO)
    assert list(info.class_names) == ['road', 'car'] and list(info.is_thing) == [False, True]
    assert (info.label_divisor, info.panoptic_void) == (10, 9)
    image = next(decoded for name, _, decoded in read if name == IMAGE)
    np.testing.assert_array_equal(np.frombuffer(image.data, np.uint8), frame(0).reshape(-1))


def test_our_own_reader_reads_what_was_written_whole_and_without_a_warning(bag, caplog):
    read = Bag(bag)
    assert [(topic.name, topic.count) for topic in read.topics] == [
        ('/image', 4),
        ('/panoptic_node/instances', 4),
        ('/panoptic_node/label_info', 1),
    ]
    assert read.is_whole and not caplog.records


def test_metadata_say_what_the_files_hold(bag):
    text = (bag / 'metadata.yaml').read_text()
    information = yaml.safe_load(text)['rosbag2_bagfile_information']
    files = sorted(file.name for file in bag.glob('*.mcap'))
    assert len(files) > 1 and information['relative_file_paths'] == files
    assert sum(file['message_count'] for file in information['files']) == 9
    assert information['message_count'] == 9
    assert information['duration']['nanoseconds'] == 3 * PERIOD
    counts = {
        entry['topic_metadata']['name']: entry['message_count']
        for entry in information['topics_with_message_count']
    }
    assert counts == {'/panoptic_node/label_info': 1, '/panoptic_node/instances': 4, '/image': 4}


def test_each_file_says_of_its_own_what_metadata_say_of_it(bag):
    for file in sorted(bag.glob('*.mcap')):
        with file.open('rb') as stream:
            reader = make_reader(stream)
            count = reader.get_summary().statistics.message_count
            (record,) = [r for r in reader.iter_metadata() if r.name == 'rosbag2']
            channels = reader.get_summary().channels.values()
        inside = yaml.safe_load(record.metadata['serialized_metadata'])
        assert inside['message_count'] == count
        assert inside['relative_file_paths'] == [file.name]
        for channel in channels:
            assert channel.metadata['topic_type_hash'].startswith('RIHS01_')


def test_the_comments_of_a_message_stay_with_it():
    text = definition(ARRAY).text
    assert text.startswith(own_definitions()[ARRAY])
    thing = own_definitions()['pdl_ros/msg/PanopticInstance']
    assert f'{"=" * 80}\nMSG: pdl_ros/PanopticInstance\n{thing}' in text
    assert f'{"=" * 80}\nMSG: std_msgs/Header\n' in text


@pytest.mark.parametrize('name', sorted(own_definitions()))
def test_type_hashes_are_those_of_ros(name):
    """Of the classes that ROS has built: a node whose messages differ does not listen."""
    built = [
        Path(prefix) / 'share' / 'pdl_ros' / 'msg' / f'{name.rpartition("/")[2]}.json'
        for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(':')
    ]
    found = [file for file in built if file.is_file()]
    if not found:
        pytest.skip('needs a checkout that was set up')
    hashes = {
        entry['type_name']: entry['hash_string']
        for entry in json.loads(found[0].read_text())['type_hashes']
    }
    assert definition(name).type_hash == hashes[name]


def test_a_type_of_somebody_else_is_written_with_the_definition_it_came_with(tmp_path):
    theirs = Definition('float64 value', 'ros2msg', 'RIHS01_ab')
    with BagWriter(tmp_path / 'bag') as writer:
        with pytest.raises(PdlError, match='their_msgs/msg/Value is not known'):
            writer.add_topic('/value', 'their_msgs/msg/Value')
        writer.write(writer.add_topic('/value', 'their_msgs/msg/Value', (), theirs), 5, b'\0\1\0\0')
    (topic,) = Bag(tmp_path / 'bag').topics
    assert (topic.type, topic.definition) == ('their_msgs/msg/Value', 'float64 value')


def test_what_is_there_already_is_not_written_over(tmp_path):
    (tmp_path / 'bag').mkdir()
    with pytest.raises(PdlError, match='is there already; give another folder'):
        BagWriter(tmp_path / 'bag')


def test_a_recording_without_messages_is_one(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/image', IMAGE)
    (topic,) = Bag(tmp_path / 'bag').topics
    assert (topic.name, topic.count) == ('/image', 0)
    with AnyReader([tmp_path / 'bag']) as reader:
        assert reader.message_count == 0


def test_a_recorder_that_was_killed_leaves_what_it_had_flushed(tmp_path):
    writer = BagWriter(tmp_path / 'bag')
    images = writer.add_topic('/image', IMAGE)
    for number in range(1200):
        writer.write(images, START + number * PERIOD, serialized(number % 8))
    writer.flush()
    shutil.copytree(tmp_path / 'bag', tmp_path / 'killed')
    read = Bag(tmp_path / 'killed')
    assert 800 < read.topics[0].count <= 1200
    assert sum(1 for _ in read.messages(read.topics)) == read.topics[0].count


JAVASCRIPT = """
const fs = require('fs');
const {McapIndexedReader} = require('@mcap/core');
const {MessageReader} = require('@foxglove/rosmsg2-serialization');
const {parse} = require('@foxglove/rosmsg');
const {loadDecompressHandlers} = require('@mcap/support');
(async () => {
  const found = [];
  const decompressHandlers = await loadDecompressHandlers();
  for (const path of process.argv.slice(2)) {
    const data = fs.readFileSync(path);
    const readable = {
      size: async () => BigInt(data.length),
      read: async (at, size) => data.subarray(Number(at), Number(at) + Number(size)),
    };
    const reader = await McapIndexedReader.Initialize({readable, decompressHandlers});
    for await (const message of reader.readMessages()) {
      const channel = reader.channelsById.get(message.channelId);
      const schema = reader.schemasById.get(channel.schemaId);
      const text = new TextDecoder().decode(schema.data);
      const read = new MessageReader(parse(text, {ros2: true})).readMessage(message.data);
      found.push([channel.topic, schema.name, String(message.logTime), read]);
    }
  }
  console.log(JSON.stringify(found, (key, value) =>
    ArrayBuffer.isView(value) ? Array.from(value) : value));
})();
"""


def test_foxgloves_own_readers_read_what_was_written(bag, tmp_path):
    npm, node = shutil.which('npm'), shutil.which('node')
    if not (npm and node):
        pytest.skip('needs Node')
    packages = ['@mcap/core', '@mcap/support', '@foxglove/rosmsg']
    packages += ['@foxglove/rosmsg2-serialization']
    install = [npm, 'install', '--no-audit', '--no-fund', '--prefer-offline', *packages]
    if subprocess.run(install, cwd=tmp_path, capture_output=True, timeout=120).returncode:
        pytest.skip('needs Node: its packages cannot be had from the registry')
    (tmp_path / 'read.js').write_text(JAVASCRIPT)
    files = [str(file) for file in sorted(bag.glob('*.mcap'))]
    done = subprocess.run(
        [node, 'read.js', *files], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    things = [(time, message) for topic, _, time, message in read if topic.endswith('/instances')]
    assert [time for time, _ in things] == [str(START + number * PERIOD) for number in range(4)]
    assert [message['instances'][0]['id'] for _, message in things] == [0, 1, 2, 3]
    assert bytes(things[0][1]['instances'][0]['mask_data']) == b'31212'
    (info,) = [message for topic, *_, message in read if topic.endswith('/label_info')]
    assert info['class_names'] == ['road', 'car'] and info['is_thing'] == [False, True]
    pictures = [message['data'] for topic, *_, message in read if topic == '/image']
    assert pictures == [frame(number).reshape(-1).tolist() for number in range(4)]
