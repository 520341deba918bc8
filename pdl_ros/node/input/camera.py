"""One camera of the node: what arrives of it, and its counters."""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.serialized_image import ImageView, view_image
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.statistics import Statistics
from pdl_ros.runtime.memory import FrameMemory

_DEPTHS = 8  # depth images that wait for their frame
_DEPTH_SLOP = 50_000_000  # nanoseconds between a frame and its depth image


_READERS: dict[type, tuple[Callable[[bytes], Any], Callable[[Any, int], np.ndarray]]] = {
    Image: (view_image, to_rgb),
    CompressedImage: (lambda raw: deserialize_message(raw, CompressedImage), compressed_to_rgb),
}


class Received(NamedTuple):
    """An image message as it came over the wire, and when: steady clock, seconds."""

    raw: bytes
    at: float


class Frame(NamedTuple):
    """A decoded image, ready to be segmented; times on the steady clock, seconds."""

    rgb: np.ndarray
    header: Any
    received_at: float
    started_at: float
    decoded_at: float


class Camera:
    """The subscriptions of one camera. Serialized images go to the frame queue; the worker has them
    decoded.

    `camera_info` is the newest calibration, None before the first.
    """

    def __init__(
        self, node: Node, name: str, settings: NodeSettings, frame_queue: FrameQueue[Received]
    ) -> None:
        self.name = name
        self.statistics = Statistics()
        self.geometry = settings.geometry()
        self.camera_info: CameraInfo | None = None
        self.rate_limit = settings.rate_limit
        self.memory = FrameMemory()
        self._max_pixels = settings.max_image_pixels
        self._node, self._frame_queue = node, frame_queue
        self._every = settings.policy == 'every_frame'
        self._kind = CompressedImage if settings.transport == 'compressed' else Image
        self._read, self._to_rgb = _READERS[self._kind]
        self._image = f'{name}/image' if name else 'image'
        self._input = f'{self._image}/compressed' if self._kind is CompressedImage else self._image
        self._group = _BackpressureGroup(lambda: not frame_queue.full(name))
        self._wants_depth = settings.points != 'none'
        self._depths: deque[tuple[int, bytes]] = deque(maxlen=_DEPTHS)
        self._subscriptions: list[Any] = []
        self._due = 0.0
        self._encoding = ''

    @property
    def topic(self) -> str:
        """The full name of the topic that images are expected on."""
        return str(self._node.resolve_topic_name(self._input))

    @property
    def received(self) -> int:
        """Images that arrived since configure."""
        return self._frame_queue.received[self.name] + self.statistics.limited

    @property
    def replaced(self) -> int:
        """Images that a newer one replaced before they were taken."""
        return self._frame_queue.dropped[self.name]

    @property
    def subscribed(self) -> bool:
        """Whether images are received."""
        return bool(self._subscriptions)

    def subscribe(self, reliability: ReliabilityPolicy, events: Any) -> None:
        """Begin to receive images, with a reliability and event callbacks."""
        history = {'history': HistoryPolicy.KEEP_ALL} if self._every else {'depth': 1}
        self._subscriptions = [
            self._node.create_subscription(
                self._kind,
                self._input,
                self._receive,
                QoSProfile(reliability=reliability, **history),
                callback_group=self._group,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                # A frame that a newer one replaces is never turned into a message.
                raw=True,
            ),
            self._node.create_subscription(
                CameraInfo, self._info_topic(), self._receive_info, qos_profile_sensor_data
            ),
        ]
        if self._wants_depth:
            topic = f'{self.name}/depth' if self.name else 'depth'
            self._subscriptions.append(
                self._node.create_subscription(
                    Image, topic, self._receive_depth, qos_profile_sensor_data, raw=True
                )
            )

    def unsubscribe(self) -> None:
        """Stop receiving."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def decode(self, received: Received, max_age: float) -> Frame | None:
        """Turn a received image into a frame, cropped and turned; None when it is older than
        `max_age` seconds (0: any age is fine). Raises PdlError for an image that cannot be read.
        """
        started = time.perf_counter()
        message = self._read(received.raw)
        if max_age and self.age(message.header) > max_age:
            self.statistics.too_old += 1
            return None
        self._log_encoding(message)
        rgb = self.geometry.apply(self._to_rgb(message, self._max_pixels))
        return Frame(rgb, message.header, received.at, started, time.perf_counter())

    def _log_encoding(self, message: Any) -> None:
        kind = message.format if self._kind is CompressedImage else message.encoding
        if kind != self._encoding:
            self._encoding = kind
            self._node.get_logger().info(
                f'{self.topic}: images are {kind!r}.', throttle_duration_sec=5.0
            )

    def depth_of(self, frame: Frame) -> ImageView | Image | None:
        """Return the depth image whose stamp is nearest to a frame's, within `_DEPTH_SLOP`."""
        stamp = frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec
        candidates = [(abs(at - stamp), raw) for at, raw in list(self._depths)]
        apart, raw = min(candidates, default=(_DEPTH_SLOP + 1, b''))
        return view_image(raw) if apart <= _DEPTH_SLOP else None

    def age(self, header: Any) -> float:
        """Return the seconds since a header's stamp, on the node's clock."""
        clock = self._node.get_clock()
        return (clock.now() - Time.from_msg(header.stamp, clock.clock_type)).nanoseconds / 1e9

    def _receive(self, raw: bytes) -> None:
        now = time.perf_counter()
        self.statistics.arrived(now)
        if self.rate_limit:
            if now < self._due:
                self.statistics.limited += 1
                return
            # On time on average, but without a burst after a pause.
            self._due = max(self._due, now - 1 / self.rate_limit) + 1 / self.rate_limit
        self._frame_queue.put(self.name, Received(raw, now))
        # The worker goes first: the executor needs the interpreter for 0.5 ms to wait again.
        time.sleep(2e-4)

    def _receive_info(self, info: CameraInfo) -> None:
        self.camera_info = info

    def _receive_depth(self, raw: bytes) -> None:
        # A serialized message begins with four bytes on its encoding, then its header's stamp.
        order = '<' if raw[1] & 1 else '>'
        sec, nanosec = struct.unpack_from(f'{order}iI', raw, 4)
        self._depths.append((sec * 10**9 + nanosec, raw))

    def _info_topic(self) -> str:
        """Return the topic beside the image's, as camera drivers name it."""
        image = str(self._node.resolve_topic_name(self._image))
        return f'{image.rpartition("/")[0]}/camera_info'


class _BackpressureGroup(MutuallyExclusiveCallbackGroup):
    """Leave messages with DDS while there is no room for them: its back-pressure reaches the
    publisher.
    """

    def __init__(self, has_room: Callable[[], bool]) -> None:
        super().__init__()
        self._has_room = has_room

    def can_execute(self, entity: Any) -> bool:
        return self._has_room() and super().can_execute(entity)

    def beginning_execution(self, entity: Any) -> bool:
        return self._has_room() and super().beginning_execution(entity)
