"""`bag record`, a process of its own, beside publishers that come, go and offer what they like."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.messages import deserialize
from pdl_ros.bags.repair import repair
from pdl_ros.errors import PdlError
from pdl_ros.node import topic_recorder
from pdl_ros.node.message_definitions import describe

PATIENCE = 60.0
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class Recording:
    """A recorder process."""

    def __init__(self, out: Path, domain: int, *arguments: object) -> None:
        self.out, self.log = out, out.with_suffix('.log')
        command = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'record', *map(str, arguments)]
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                [*command, '-o', str(out)],
                env={**os.environ, 'ROS_DOMAIN_ID': str(domain), 'PYTHONUNBUFFERED': '1'},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> None:
        wait(lambda: text in self.said() or self.process.poll() is not None)
        assert text in self.said()

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def messages(self) -> list[tuple[str, bytes]]:
        bag = Bag(self.out)
        return [(message.topic.name, message.data) for message in bag.messages(bag.topics)]


def wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path, domain: int) -> Iterator[Callable[..., Recording]]:
    started: list[Recording] = []

    def start(*arguments: object) -> Recording:
        started.append(Recording(tmp_path / f'drive{len(started)}', domain, *arguments))
        return started[-1]

    yield start
    for recording in started:
        recording.process.kill()
        recording.process.wait()


@pytest.fixture
def node(context: Context) -> rclpy.node.Node:
    return rclpy.create_node('publishers', context=context)


def publish(publisher, count: int, offset: int = 0) -> list[bytes]:
    """Publish texts once somebody listens; return them serialized."""
    wait(lambda: publisher.get_subscription_count() > 0)
    messages = [String(data=f'{offset + number}') for number in range(count)]
    for message in messages:
        publisher.publish(message)
        time.sleep(0.01)
    time.sleep(0.5)
    return [on_the_wire(message) for message in messages]


def on_the_wire(message) -> bytes:
    """Return a message as Fast DDS sends it: filled up to a multiple of four bytes."""
    data = bytes(serialize_message(message))
    return data.ljust(-(-len(data) // 4) * 4, b'\0')


def test_messages_are_recorded_byte_for_byte_until_ctrl_c(start, node):
    text = node.create_publisher(String, '/chatter', 50)
    image = node.create_publisher(Image, '/front/image', BEST_EFFORT)
    recording = start('/chatter', '/front/*')
    recording.wait_for('Recording /chatter (std_msgs/msg/String, reliable).')
    recording.wait_for('Recording /front/image (sensor_msgs/msg/Image, best_effort).')
    begun = time.time_ns()
    wait(lambda: image.get_subscription_count() > 0)
    picture = Image(height=2, width=2, encoding='rgb8', step=6, data=bytes(range(12)))
    image.publish(picture)
    sent = publish(text, 20)
    assert recording.end() == 0, recording.said()
    found = recording.messages()
    assert [data for name, data in found if name == '/chatter'] == sent
    (data,) = (data for name, data in found if name == '/front/image')
    assert deserialize_message(data, Image) == picture
    bag = Bag(recording.out)
    assert bag.is_whole
    for message in bag.messages(bag.topics):
        assert begun <= message.log_time <= time.time_ns()
        deserialize(message)
    assert '21 messages, ' in recording.said()
    assert ' 0 dropped, 0 lost' in recording.said()
    metadata = yaml.safe_load((recording.out / 'metadata.yaml').read_text())
    topics = metadata['rosbag2_bagfile_information']['topics_with_message_count']
    offered = {
        t['topic_metadata']['name']: t['topic_metadata']['offered_qos_profiles'][0]['reliability']
        for t in topics
    }
    assert offered == {'/chatter': 'reliable', '/front/image': 'best_effort'}
    hashes = {t['topic_metadata']['type_description_hash'] for t in topics}
    assert hashes == {
        describe(k).type_hash for k in ('std_msgs/msg/String', 'sensor_msgs/msg/Image')
    }


def test_topics_that_appear_later_and_what_was_latched_before_are_recorded(start, node):
    latched = node.create_publisher(String, '/map', LATCHED)
    latched.publish(String(data='before'))
    recording = start('/*')
    recording.wait_for('Recording /map')
    later = node.create_publisher(String, '/later', 50)
    recording.wait_for('Recording /later')
    sent = publish(later, 5)
    assert recording.end(signal.SIGTERM) == 0, recording.said()
    found = recording.messages()
    assert [data for name, data in found if name == '/later'] == sent
    assert [data for name, data in found if name == '/map'] == [on_the_wire(String(data='before'))]
    text = (recording.out / 'metadata.yaml').read_text()
    assert 'transient_local' in text


def test_a_second_publisher_that_offers_less_is_recorded_too(start, node):
    first = node.create_publisher(String, '/chatter', 50)
    recording = start('chatter')
    recording.wait_for('Recording /chatter (std_msgs/msg/String, reliable)')
    second = node.create_publisher(String, '/chatter', BEST_EFFORT)
    recording.wait_for('a publisher offers less')
    sent = publish(second, 5) + publish(first, 5, 100)
    recording.end()
    assert sorted(data for _, data in recording.messages()) == sorted(sent)


def test_what_a_killed_recorder_leaves_is_whole_up_to_its_last_second(start, node):
    text = node.create_publisher(String, '/chatter', 50)
    recording = start('/chatter')
    recording.wait_for('Recording /chatter')
    sent = publish(text, 10)
    time.sleep(2.5)
    publish(text, 1)
    recording.end(signal.SIGKILL)
    assert not (recording.out / 'metadata.yaml').exists()
    assert [data for _, data in recording.messages()][:10] == sent
    repaired = recording.out.with_name('repaired')
    found = repair(recording.out, repaired)
    assert found.saved['/chatter'] >= 10
    assert Bag(repaired).is_whole
    assert 'std_msgs/msg/String' in (repaired / 'metadata.yaml').read_text()


def test_dropped_messages_are_counted_by_topic_and_are_status_1(start, node):
    image = node.create_publisher(Image, '/image', 10)
    text = node.create_publisher(String, '/chatter', 50)
    recording = start('/image', '/chatter', '--buffer', 1)
    recording.wait_for('Recording /image')
    recording.wait_for('Recording /chatter')
    wait(lambda: image.get_subscription_count() > 0)
    image.publish(Image(data=bytes(2_000_000)))
    publish(text, 3)
    assert recording.end() == 1
    assert '/image: 0 written, 1 dropped because the disk was too slow' in recording.said()
    assert len(recording.messages()) == 3


def test_without_any_topic_nothing_is_left_behind(start):
    recording = start('/nowhere', '--duration', 1)
    assert recording.process.wait(PATIENCE) == 2
    assert 'No topic was found for /nowhere; nothing was recorded.' in recording.said()
    assert not recording.out.exists()


def test_an_output_that_exists_is_refused_before_anything_is_received(start, tmp_path):
    (tmp_path / 'drive0').mkdir()
    recording = start('/chatter')
    assert recording.process.wait(PATIENCE) == 2
    assert 'is there already' in recording.said()


def test_types_of_other_packages_are_recorded_with_their_definition():
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    text = describe('vision_msgs/msg/Detection2DArray').text
    head, *parts = text.split('=' * 80)
    assert 'Detection2D[] detections' in head
    names = {part.strip().partition('\n')[0] for part in parts}
    assert {'MSG: vision_msgs/Detection2D', 'MSG: std_msgs/Header'} <= names
    assert 'MSG: builtin_interfaces/Time' in names


def test_a_type_that_is_not_installed_is_named_once():
    for name in ('nowhere_msgs/msg/Odd', 'std_msgs/msg/Nothing', 'os/path', '../x/msg/Y', ''):
        with pytest.raises(PdlError, match='is not installed here; source the workspace'):
            topic_recorder.message_type(name)


@pytest.mark.parametrize(
    ('name', 'patterns', 'wanted'),
    [
        ('/front/image', ['/front/*'], True),
        ('/front/image', ['front/image'], True),
        ('/front/image', ['/rear/*', '/*'], True),
        ('/front/image', ['/front'], False),
        ('/turn/_action/status', ['/*'], False),
        ('/turn/_action/status', ['/turn/_action/*'], True),
    ],
)
def test_names_and_patterns_mean_what_they_mean_for_files(name, patterns, wanted):
    assert topic_recorder._is_wanted(name, patterns) == wanted


def test_without_ros_one_sentence_says_what_is_missing(tmp_path, monkeypatch):
    command = importlib.import_module('pdl_ros.cli.bag.record')
    monkeypatch.setattr(command, 'find_spec', lambda _: None)
    with pytest.raises(PdlError, match=r'takes ROS 2, but rclpy is not here; source a ROS 2'):
        command.record(['/image'], tmp_path / 'out')
