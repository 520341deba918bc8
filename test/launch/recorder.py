"""A recorder process for tests: says of each frame that has come whole that it was recorded."""

from __future__ import annotations

import contextlib
import sys

import rclpy
from rclpy.executors import ExternalShutdownException

from pdl_ros.demo.recorder import watch

with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
    watch(
        lambda frame, labels: print('recorded', frame.panoptic.shape, labels.name, flush=True),
        sys.argv[1],
        lambda recorder: rclpy.ok(),
    )
