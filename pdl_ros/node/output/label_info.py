"""What the values of the label images mean, for those who come late, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from pdl_ros.labels import LabelSet
from pdl_ros.messages.instances import label_info
from pdl_ros.msg import LabelInfo
from pdl_ros.node.output.detections import have_vision_msgs, vision_label_info
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.node.statistics import Statistics


class LabelInfoPublishers:
    """The latched publishers of a label set: one message now, and one for every `publish`.

    All cameras have the same labels: `~/label_info` says so, with the frame_id of the only camera,
    or none. Cameras with a name have their own beside their images, such as `~/front/label_info`.
    The frame_id of a camera is known once a frame of it has been segmented.
    """

    def __init__(self, node: Node, label_set: LabelSet, cameras: Mapping[str, Statistics]) -> None:
        """`cameras`: by name, what they have seen."""
        self._node, self._label_set = node, label_set
        kinds: list[tuple[type, str, Callable[[LabelSet, Header], Any]]] = [
            (LabelInfo, 'label_info', partial(label_info, ROS))
        ]
        if have_vision_msgs():
            from vision_msgs.msg import LabelInfo as VisionLabelInfo

            kinds.append((VisionLabelInfo, 'detections/label_info', vision_label_info))
        owners: dict[str, Statistics | None] = {
            f'{name}/' if name else '': statistics for name, statistics in cameras.items()
        }
        owners.setdefault('', next(iter(owners.values())) if len(owners) == 1 else None)
        self._publishers = [
            (self._publisher(kind, f'~/{folder}{topic}'), make, owner)
            for kind, topic, make in kinds
            for folder, owner in owners.items()
        ]
        self.publish()

    def publish(self) -> None:
        """Say it again: rosbag2 loses what is latched."""
        stamp = self._node.get_clock().now().to_msg()
        for publisher, make, owner in list(self._publishers):
            header = Header(stamp=stamp, frame_id=owner.frame_id if owner else '')
            publisher.publish(make(self._label_set, header))

    def close(self) -> None:
        """Destroy the publishers."""
        publishers, self._publishers = self._publishers, []
        for publisher, _, _ in publishers:
            self._node.destroy_publisher(publisher)

    def _publisher(self, kind: type, topic: str) -> Publisher:
        return self._node.create_publisher(
            kind,
            topic,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
