"""A node process with shipped weights, and this process as its camera and its audience, for the
benchmarks that go over DDS.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.demo.cameras import open_camera
from pdl_ros.demo.processes import ros_process
from pdl_ros.errors import PdlError
from pdl_ros.messages.images import ImageWriter
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.network.weight_files import find_weights
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.node.ros_log import with_possible_log
from pdl_ros.node.shared_memory import configure_shared_memory

LABELS = ('semantic', 'instance', 'panoptic')
NAMESPACE = f'/pdl_ros_bench_{os.getpid()}'  # no other benchmark's node answers
_PATIENCE = 300.0
_STDERR = 2  # our own output may be JSON
_PICTURES = 8


class Rig:
    """A node process, its camera, and subscriptions to some of its outputs.

    `audience` receives the outputs; who takes them from DDS, and when, is up to its executor.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], node: Node, audience: Node, context: Context
    ) -> None:
        self.process, self.node, self.audience = process, node, audience
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(node)
        self.listener = SingleThreadedExecutor(context=context)
        self.camera = node.create_publisher(Image, 'image', QoSProfile(depth=5))
        self.timings: list[FrameTiming] = []
        self.arrivals: dict[float, list[float]] = defaultdict(list)

    def listen(self, outputs: tuple[str, ...]) -> None:
        """Subscribe to outputs and the timing, and wait until node and camera know each other."""
        self.subscribe(outputs)
        self.until(lambda: self.camera.get_subscription_count() > 0)
        self.until(lambda: self.node.count_publishers(f'{NAMESPACE}/panoptic_node/timing') > 0)
        self.spin(1.0)

    def subscribe(self, outputs: tuple[str, ...]) -> None:
        for name in outputs:
            kind, topic = (
                (PanopticInstanceArray, name) if name == 'instances' else (Image, f'{name}/image')
            )
            self.audience.create_subscription(
                kind, f'panoptic_node/{topic}', self._note, QoSProfile(depth=5), raw=True
            )
        self.node.create_subscription(
            FrameTiming, 'panoptic_node/timing', self.timings.append, QoSProfile(depth=5)
        )

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            self.executor.spin_once(timeout_sec=0.01)
            if self.process.poll() is not None or time.monotonic() > end:
                raise PdlError('The node gave no answer; its log is above.')

    def segmented(self, frames: int) -> bool:
        return len(self.timings) >= frames

    def take(self, messages: int) -> None:
        """Take all messages that have come, and wait for those that have not."""
        end = time.monotonic() + _PATIENCE
        while sum(map(len, self.arrivals.values())) < messages:
            self.listener.spin_once(timeout_sec=0.01)
            if time.monotonic() > end:
                raise PdlError('Messages of the node did not arrive.')

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def play(self, height: int, width: int, rate: float, seconds: float) -> None:
        writer, pictures = ImageWriter(ROS, 'rgb8'), itertools.cycle(street_pictures(height, width))
        due = time.monotonic()
        end = due + seconds
        while due < end:
            self.camera.publish(writer.fill(next(pictures), self.stamp()))
            due += 1 / rate
            self.spin(max(due - time.monotonic(), 0))

    def stamp(self) -> Header:
        return Header(stamp=self.node.get_clock().now().to_msg())

    def _note(self, raw: bytes) -> None:
        sec, nanosec = struct.unpack_from('<iI', raw, 4)  # every message begins with its header
        sent = sec + nanosec / 1e9
        self.arrivals[sent].append(self.node.get_clock().now().nanoseconds / 1e9 - sent)


@contextlib.contextmanager
def node_rig(weights: str, **others: str) -> Iterator[Rig]:
    parameters = {
        'weights': find_weights(weights).resolve(),
        'image_qos': 'reliable',
        'device': 'auto',
        **others,
    }
    arguments = [a for name, value in parameters.items() for a in ('-p', f'{name}:={value}')]
    configure_shared_memory()
    node_arguments = ('pdl_ros.node.main', NAMESPACE, '--ros-args', *arguments)
    with ros_process(*node_arguments, stdout=_STDERR) as process:
        context = Context()
        rclpy.init(args=with_possible_log(), context=context)
        try:
            node, audience = (
                Node(name, namespace=NAMESPACE, context=context) for name in ('bench', 'audience')
            )
            yield Rig(process, node, audience, context)
            audience.destroy_node()
            node.destroy_node()
        finally:
            rclpy.try_shutdown(context=context)


def street_pictures(height: int, width: int) -> list[np.ndarray]:
    streets = itertools.islice(open_camera('scene'), _PICTURES)
    return [cv2.resize(street, (width, height)) for street in streets]
