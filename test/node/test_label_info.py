"""Whoever finds a label image finds beside it what its values mean, and of which camera it is."""

from __future__ import annotations

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile

from pdl_ros.labels import LabelSet
from pdl_ros.msg import LabelInfo
from pdl_ros.node.output.label_info import LabelInfoPublishers
from pdl_ros.node.statistics import Statistics

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.mark.parametrize(
    ('cameras', 'expected'),
    [
        (('',), {'': 'seen'}),
        (('front',), {'': 'front/seen', 'front/': 'front/seen'}),
        (('front', 'left'), {'': '', 'front/': 'front/seen', 'left/': 'left/seen'}),
    ],
)
def test_each_camera_has_its_labels_beside_its_images_in_its_frame(
    domain: int, cameras: tuple[str, ...], expected: dict[str, str]
) -> None:
    context, labels = Context(), LabelSet.load('camvid')
    rclpy.init(context=context, domain_id=domain)
    executor = SingleThreadedExecutor(context=context)
    node = rclpy.create_node('panoptic_node', context=context)
    executor.add_node(node)
    statistics = {name: Statistics() for name in cameras}
    publishers = LabelInfoPublishers(node, labels, statistics)
    for name in cameras:
        statistics[name].published(f'{name}/seen'.lstrip('/'), 1.0, 0.1)
    publishers.publish()
    heard: dict[str, LabelInfo] = {}
    for folder in ('', 'front/', 'left/'):  # who come late
        node.create_subscription(
            LabelInfo,
            f'~/{folder}label_info',
            lambda info, f=folder: heard.update({f: info}),
            LATCHED,
        )
    while len(heard) < len(expected):
        executor.spin_once()
    assert {folder: info.header.frame_id for folder, info in heard.items()} == expected
    for info in heard.values():
        assert info.class_names == [c.name for c in labels.classes]
    publishers.close()
    assert not [p for p in node.publishers if 'label_info' in p.topic_name]
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
