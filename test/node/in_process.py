"""The input, the worker and the output of a node in this process, with real topics around them."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.diagnostics import array
from pdl_ros.node.input.camera import Camera
from pdl_ros.node.input.frame import Received
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.subscriptions import Subscriptions
from pdl_ros.node.output.publishers import CameraPublishers
from pdl_ros.node.parameter_table import TABLE
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.worker import Worker
from pdl_ros.pipeline import Segmenter

KINDS = {
    'semantic/image': Image,
    'semantic/camera_info': CameraInfo,
    'instance/image': Image,
    'overlay/image': Image,
    'instances': PanopticInstanceArray,
    'points': PointCloud2,
    'timing': FrameTiming,
}


def node_settings(**changes: Any) -> NodeSettings:
    """Return the defaults, but for some; reliable, so that a test never waits for a lost frame."""
    values = {row.name: row.default for row in TABLE}
    return NodeSettings.from_values({**values, 'image_qos': 'reliable', **changes})


class NodeInProcess:
    """One camera of a node, segmented and published, and what its listeners have received."""

    def __init__(
        self, segmenter: Segmenter | None, domain: int, *remaps: str, **changes: Any
    ) -> None:
        self.settings = node_settings(**changes)
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        arguments = ['--ros-args', *(word for remap in remaps for word in ('-r', remap))]
        self.node = rclpy.create_node('panoptic_node', context=self.context, cli_args=arguments)
        self.world = rclpy.create_node('world', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        for node in (self.node, self.world):
            self.executor.add_node(node)
        self.frame_queue: FrameQueue[Received] = FrameQueue(
            [''], self.settings.policy == 'newest', self.settings.queue_size
        )
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.errors: list[str] = []
        self.outputs: CameraPublishers | None = None
        self.camera = Camera(self.node, '', self.settings, self.frame_queue, self._points_wanted)
        self.worker: Worker | None = None
        self.frame_queue.open()
        if segmenter is not None:
            self.outputs = CameraPublishers(self.node, '', self.settings, segmenter.label_set)
            self.worker = Worker(
                segmenter,
                {'': (self.camera, self.outputs)},
                self.frame_queue,
                lambda: self.settings,
                self.errors.append,
            )
        self.subscriptions = Subscriptions(
            self.node, [self.camera], self.settings, lambda camera: True
        )
        self.images = self.world.create_publisher(Image, 'image', QoSProfile(depth=50))
        self.infos = self.world.create_publisher(CameraInfo, 'camera_info', 10)

    def _points_wanted(self) -> bool:
        return self.outputs is None or 'points' in self.outputs.demanded(self.settings)

    def listen(self, *names: str) -> None:
        """Subscribe to outputs, and wait until both ends know of each other."""
        for name in names:
            self.world.create_subscription(
                KINDS[name], f'panoptic_node/{name}', self.received[name].append, 50
            )
        topics = [*(f'panoptic_node/{name}' for name in names), 'image', 'camera_info']
        publishers = {p.topic_name: p for n in (self.node, self.world) for p in n.publishers}
        for topic in topics:
            publisher = publishers[f'/{topic}']
            self.wait(lambda p=publisher: p.get_subscription_count() > 0)

    def wait(self, condition: Callable[[], bool], timeout: float = 60.0) -> None:
        """Spin until the condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            self.executor.spin_once(timeout_sec=0.02)
            assert time.monotonic() < end, f'timed out; errors: {self.errors}'

    def spin(self, seconds: float) -> None:
        """Let messages arrive for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def send(self, image: Image) -> None:
        """Publish an image and wait until it has arrived."""
        before = self.camera.received
        self.images.publish(image)
        self.wait(lambda: self.camera.received > before)

    def condition(self) -> tuple[bytes, str, dict[str, str]]:
        """Return level, message and values of the camera's diagnostics."""
        stamp = self.node.get_clock().now().to_msg()
        status = array(stamp, 'node', 'active', None, [self.camera]).status[-1]
        return status.level, status.message, {pair.key: pair.value for pair in status.values}

    def close(self) -> None:
        """Stop, and leave DDS."""
        self.subscriptions.close()
        if self.worker is not None:
            assert self.worker.stop(30.0)
        self.executor.shutdown()
        for node in (self.node, self.world):
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@contextlib.contextmanager
def in_process(
    segmenter: Segmenter | None, domain: int, *remaps: str, **changes: Any
) -> Iterator[NodeInProcess]:
    """Run a node's input and output with some parameters; without a segmenter, only its input."""
    node = NodeInProcess(segmenter, domain, *remaps, **changes)
    try:
        yield node
    finally:
        node.close()


def depth_image(header: Any, metres: float, height: int, width: int) -> Image:
    """Return a wall at so many metres."""
    pixels = np.full((height, width), metres, np.float32)
    return Image(header=header, height=height, width=width, encoding='32FC1', step=4 * width,
                 data=pixels.tobytes())  # fmt: skip


def calibration(height: int, width: int) -> CameraInfo:
    """Return the camera_info of a camera without distortion."""
    k = [100.0, 0.0, width / 2, 0.0, 100.0, height / 2, 0.0, 0.0, 1.0]
    return CameraInfo(height=height, width=width, k=k)
