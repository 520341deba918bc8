"""A recording that is segmented later says what the node said live, message by message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.run import run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.bags.writer import BagWriter
from pdl_ros.msg import FrameTiming, LabelInfo, PanopticInstanceArray

from .harness import OUTPUTS, Harness, running
from .test_topics import message_of

NODE = '/panoptic_node'
PNG = [f'{name}/image/compressed' for name in ('semantic', 'instance', 'panoptic')]
FRAMES = 6


@pytest.fixture(scope='module')
def node(
    parameters: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, module_domain: int
) -> Iterator[Harness]:
    """One node with every output listened to, PNG labels too."""
    log = tmp_path_factory.mktemp('node') / 'log.txt'
    more = {'precision': 'fp32', 'tracking': True, 'compressed_labels': True}
    with running({**parameters, **more}, log, module_domain) as harness:
        OUTPUTS.update(dict.fromkeys(PNG, CompressedImage))
        try:
            harness.listen()
        finally:
            for name in PNG:
                del OUTPUTS[name]
        yield harness


@pytest.fixture(scope='module')
def live(node: Harness) -> dict[str, list[Any]]:
    """What the node says of a picture that moves, with a new stamp each time."""
    picture = np.random.default_rng(5).integers(0, 256, (12, 20, 3), np.uint8)
    wide = cv2.resize(picture, (200, 97), interpolation=cv2.INTER_CUBIC)
    sent, said = [], {name: [] for name in (*OUTPUTS, *PNG)}
    for number in range(FRAMES):
        header = node.header('front')
        pixels = np.ascontiguousarray(wide[:, 7 * number : 7 * number + 141])
        sent.append(message_of(pixels, 'rgb8', header, padding=3))
        for name, message in node.send(sent[-1]).items():
            # The node fills its messages again and again; those received are ours.
            said[name].append(message)
    return {**said, 'sent': sent, 'label_info': node.label_info()}


@pytest.fixture(scope='module')
def recorded(live: dict[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as rosbag2 records them: serialized, as they came."""
    folder = tmp_path_factory.mktemp('recorded') / 'drive'
    with BagWriter(folder) as writer:
        images = writer.add_topic('/image', 'sensor_msgs/msg/Image')
        for message in live['sent']:
            stamp = message.header.stamp
            time = stamp.sec * 10**9 + stamp.nanosec + 3_000_000
            writer.write(images, time, serialize_message(message))
    return folder


def results(recorded: Path, out: Path, weights: Path, **changes: Any) -> dict[str, list[bytes]]:
    settings = RunSettings(
        str(weights), 'cpu', 'torch', 'fp32', tracking=True, overlay=True, **changes
    )
    assert run_bag(BagJob(recorded, out, settings)).exit_status == 0
    opened, found = Bag(out), dict[str, list[bytes]]()
    for message in opened.messages(opened.topics):
        found.setdefault(message.topic.name, []).append(message.data)
    return found


def test_a_segmented_recording_has_the_messages_of_the_node(
    live: dict[str, list[Any]], recorded: Path, weights: Path, tmp_path: Path
) -> None:
    raw = results(recorded, tmp_path / 'raw', weights)
    png = results(recorded, tmp_path / 'png', weights, labels='png')
    for name in (*OUTPUTS, *PNG):
        found = {**png, **raw}[f'{NODE}/{name}']
        assert len(found) == len(live[name]) == FRAMES
        for data, message in zip(found, live[name], strict=True):
            if name == 'timing':
                assert deserialize_message(data, FrameTiming).header == message.header
            else:
                assert deserialize_message(data, type(message)) == message, name
    things = [len(message.instances) for message in live['instances']]
    assert min(things) > 2, 'the pictures show nothing'
    assert max(t.track_age for m in live['instances'] for t in m.instances) > 1


def test_the_labels_of_both_are_explained_alike(
    node: Harness,
    live: dict[str, list[Any]],
    recorded: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    infos = live['label_info']
    node.wait(lambda: bool(infos) and infos[-1].header.frame_id == 'front')
    (data,) = results(recorded, tmp_path / 'out', weights)[f'{NODE}/label_info']
    found, said = deserialize_message(data, LabelInfo), infos[-1]
    assert found.header.frame_id == 'front'
    found.header = said.header  # its stamp is the time at which it was said
    assert found == said


def test_a_segmented_recording_is_heard_by_subscribers(
    live: dict[str, list[Any]], recorded: Path, weights: Path, tmp_path: Path, domain: int
) -> None:
    """Played as `ros2 bag play` does: the bytes as they are, with the QoS that is recorded."""
    found = results(recorded, tmp_path / 'out', weights)
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    world = rclpy.create_node('player', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(world)
    heard: dict[str, list[Any]] = {'instances': [], 'label_info': [], 'panoptic/image': []}
    kinds = {'instances': PanopticInstanceArray, 'label_info': LabelInfo, 'panoptic/image': Image}
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    try:
        players = {
            name: world.create_publisher(
                kinds[name], f'{NODE}/{name}', latched if name == 'label_info' else 10
            )
            for name in heard
        }
        players['label_info'].publish(found[f'{NODE}/label_info'][0])  # before anybody listens
        for name, kept in heard.items():
            qos = latched if name == 'label_info' else QoSProfile(depth=10)
            world.create_subscription(kinds[name], f'{NODE}/{name}', kept.append, qos)
        for name in ('instances', 'panoptic/image'):
            while not players[name].get_subscription_count():
                executor.spin_once(timeout_sec=0.05)
            for data in found[f'{NODE}/{name}']:
                players[name].publish(data)
        for _ in range(400):
            if [len(kept) for kept in heard.values()] == [FRAMES, 1, FRAMES]:
                break
            executor.spin_once(timeout_sec=0.05)
        assert heard['instances'] == live['instances']
        assert heard['panoptic/image'] == live['panoptic/image']
        assert [info.label_set for info in heard['label_info']] == ['scene']
    finally:
        executor.shutdown()
        world.destroy_node()
        rclpy.try_shutdown(context=context)
