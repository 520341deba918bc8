"""Cameras that are fresh together share a pass of the network; who listens decides who is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image

from pdl_ros.msg import FrameTiming
from pdl_ros.pipeline import Segmenter

from .harness import Harness, running
from .test_cameras import hear
from .test_topics import message_of, pixels_of


def test_frames_that_are_fresh_together_share_a_pass_and_get_the_labels_they_get_alone(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray, segmenter: Segmenter
) -> None:
    pictures = {'front': rgb, 'left': rgb[::-1], 'rear': rgb[:60, :80]}
    batched = {**parameters, 'cameras': '[front, left, rear]', 'batch_window_ms': 500.0}
    with running(batched, tmp_path / 'log.txt', domain) as node:
        cameras = {n: node.node.create_publisher(Image, f'{n}/image', 10) for n in pictures}
        seen = {n: hear(node, f'/panoptic_node/{n}/panoptic/image', Image) for n in pictures}
        timings = {n: hear(node, f'/panoptic_node/{n}/timing', FrameTiming) for n in pictures}
        node.wait(lambda: all(c.get_subscription_count() for c in cameras.values()))

        def send(*names: str) -> None:
            count = {name: len(timings[name]) for name in names}
            for name in names:
                picture = np.ascontiguousarray(pictures[name])
                cameras[name].publish(message_of(picture, 'rgb8', node.header(f'{name}_camera')))
            node.wait(lambda: all(len(timings[n]) > count[n] < len(seen[n]) for n in names))

        # Nobody waits for a camera that has not spoken within a second, and the first passes of a
        # size can take that long. The rear camera's frames become another size in the network.
        sizes: list[list[int]] = []
        while len(sizes) < 10 and sizes[-1:] != [[2, 2, 1]]:
            send('front', 'left', 'rear')
            sizes.append([timings[n][-1].batch_size for n in pictures])
        assert sizes[-1] == [2, 2, 1], sizes
        for name, picture in pictures.items():
            assert seen[name][-1].header.frame_id == f'{name}_camera'
            expected = segmenter(np.ascontiguousarray(picture)).panoptic.numpy()
            # Sums of a batch may be rounded otherwise: a pixel between two labels can turn.
            assert (pixels_of(seen[name][-1]) == expected).mean() > 0.999
        node.spin(1.2)  # left and rear are dead now
        send('front')
        assert timings['front'][-1].batch_size == 1
        assert timings['front'][-1].queue_age_ms < 450, 'a dead camera was waited for'


def test_a_lazy_node_takes_images_only_while_somebody_listens(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'lazy': True}, tmp_path / 'log.txt', domain) as node:
        node.wait_for_log('Active')
        node.spin(1.5)
        assert node.camera.get_subscription_count() == 0
        node.listen('semantic/image')
        assert node.send(message_of(rgb, 'rgb8', node.header()))['semantic/image'].width == 141
        node.deafen('semantic/image')
        node.wait(lambda: node.camera.get_subscription_count() == 0)
        node.spin(5.5)
        assert 'No image' not in node.log(), 'it complained of a silence of its own making'
        node.listen('overlay/image')
        assert node.send(message_of(rgb, 'rgb8', node.header()))['overlay/image'].width == 141


def test_nothing_is_computed_for_nobody(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('timing')
        assert node.send(message_of(rgb, 'rgb8', node.header()))['timing'].frames_processed == 1
        node.deafen('timing')
        for _ in range(3):
            node.camera.publish(message_of(rgb, 'rgb8', node.header()))
            node.spin(0.2)
        node.listen('timing')
        timing = node.send(message_of(rgb, 'rgb8', node.header()))['timing']
        assert (timing.frames_received, timing.frames_processed) == (5, 2)


def test_an_override_of_one_topics_qos_leaves_the_others_alone(
    parameters: dict[str, Any], tmp_path: Path, domain: int
) -> None:
    override = 'qos_overrides./panoptic_node/semantic/image.publisher.reliability'
    with running({**parameters, override: 'best_effort'}, tmp_path / 'log.txt', domain) as node:
        node.wait_for_log('Active')
        offered = {name: _reliability(node, name) for name in ('semantic', 'panoptic', 'overlay')}
    assert offered.pop('semantic') == ReliabilityPolicy.BEST_EFFORT
    assert set(offered.values()) == {ReliabilityPolicy.RELIABLE}


def _reliability(node: Harness, name: str) -> ReliabilityPolicy:
    topic = f'/panoptic_node/{name}/image'
    node.wait(lambda: node.node.count_publishers(topic) > 0)
    (found,) = node.node.get_publishers_info_by_topic(topic)
    return found.qos_profile.reliability
