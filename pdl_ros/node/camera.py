"""A camera made of pictures: publishes frames of any source as `image`, at a rate, with a fresh
stamp each.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.node.images import ImageWriter


class CameraNode(Node):
    """Publish (H, W, 3) uint8 RGB frames on `image`."""

    def __init__(self, frame_id: str = 'camera_optical_frame') -> None:
        super().__init__('camera')
        self.frame_id = frame_id
        # Reliable suits best-effort subscribers too, and a demo should lose no frame to the
        # transport.
        self._publisher = self.create_publisher(
            Image, 'image', QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        )
        self._writer = ImageWriter('rgb8')

    def wait_for_subscribers(self, count: int, timeout: float) -> bool:
        """Wait until so many subscribers are matched; False after `timeout` seconds."""
        end = time.monotonic() + timeout
        while self._publisher.get_subscription_count() < count:
            if time.monotonic() > end or not rclpy.ok():
                return False
            time.sleep(0.05)
        return True

    def play(self, frames: Iterable[np.ndarray], rate: float, limit: int = 0) -> int:
        """Publish frames at `rate` per second, at most `limit` of them (0: all); return how
        many.
        """
        period, due, count = 1 / rate, time.monotonic(), 0
        for rgb in frames:
            if (limit and count >= limit) or not rclpy.ok():
                break
            time.sleep(max(due - time.monotonic(), 0))
            due = max(
                due + period, time.monotonic()
            )  # a late frame delays the next: no burst to catch up
            header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.frame_id)
            self._publisher.publish(self._writer.fill(rgb, header))
            count += 1
        return count
