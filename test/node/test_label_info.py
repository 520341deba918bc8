"""Whoever finds a label image finds beside it what its values mean, and of which camera it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from std_msgs.msg import Header

from pdl_ros.labels import LabelSet
from pdl_ros.node.output.label_info import advertise_label_info
from pdl_ros.node.statistics import Statistics


@pytest.fixture
def node(domain: int) -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node('panoptic_node', context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize(
    ('cameras', 'expected'),
    [
        (('',), {'': 'seen'}),
        (('front',), {'': 'front/seen', 'front/': 'front/seen'}),
        (('front', 'left'), {'': '', 'front/': 'front/seen', 'left/': 'left/seen'}),
    ],
)
def test_each_camera_has_its_labels_beside_its_images_in_its_frame(
    node: Node, cameras: tuple[str, ...], expected: dict[str, str]
) -> None:
    statistics = {name: Statistics() for name in cameras}
    publishers = [
        (publisher, make)
        for publisher, make in advertise_label_info(node, statistics)
        if 'detections' not in publisher.topic_name
    ]
    labels, header = LabelSet.load('camvid'), Header()
    header.stamp.sec = 7
    for _, make in publishers:
        assert make(labels, header).header.frame_id == '', 'before the first frame'
    for name in cameras:
        statistics[name].published(f'{name}/seen'.lstrip('/'), 1.0, 0.1)
    made = {p.topic_name: make(labels, header) for p, make in publishers}
    assert {topic: info.header.frame_id for topic, info in made.items()} == {
        f'/panoptic_node/{folder}label_info': frame_id for folder, frame_id in expected.items()
    }
    for info in made.values():
        assert info.header.stamp.sec == 7
        assert info.class_names == [c.name for c in labels.classes]
