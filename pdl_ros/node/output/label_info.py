"""What the values of the label images mean, for those who come late, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from pdl_ros.labels import LabelSet
from pdl_ros.msg import LabelInfo
from pdl_ros.node.output import messages
from pdl_ros.node.output.detections import have_vision_msgs, vision_label_info


class LabelInfoPublishers:
    """The latched publishers of a label set: one message now, and one for every `publish`.

    `frame_id` tells the frame of the images, once it is known.
    """

    def __init__(self, node: Node, label_set: LabelSet, frame_id: Callable[[], str]) -> None:
        self._node, self._label_set, self._frame_id = node, label_set, frame_id
        kinds: list[tuple[type, str, Callable[[LabelSet, Header], Any]]] = [
            (LabelInfo, '~/label_info', messages.label_info)
        ]
        if have_vision_msgs():
            from vision_msgs.msg import LabelInfo as VisionLabelInfo

            kinds.append((VisionLabelInfo, '~/detections/label_info', vision_label_info))
        self._publishers = [(self._publisher(kind, topic), make) for kind, topic, make in kinds]
        self.publish()

    def publish(self) -> None:
        """Say it again: rosbag2 loses what is latched."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=self._frame_id())
        for publisher, make in list(self._publishers):
            publisher.publish(make(self._label_set, header))

    def close(self) -> None:
        """Destroy the publishers."""
        publishers, self._publishers = self._publishers, []
        for publisher, _ in publishers:
            self._node.destroy_publisher(publisher)

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self._node.create_publisher(
            kind,
            topic,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
