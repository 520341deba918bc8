"""One camera of the node: what arrives of it, and its counters."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from pdl_ros.errors import PdlError
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.messages.stamps import nanoseconds, stamp_of
from pdl_ros.node.events import subscribe_with_events
from pdl_ros.node.input.age_limit import AgeLimit
from pdl_ros.node.input.backpressure import BackpressureGroup
from pdl_ros.node.input.depth import DepthImages
from pdl_ros.node.input.frame import Frame, Received, camera_info_topic
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.serialized_image import view_image
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stamps import seconds_since
from pdl_ros.node.statistics import FrameCounts, Statistics
from pdl_ros.node.throttle import Throttle
from pdl_ros.runtime.memory import FrameMemory

_CALIBRATIONS = 8  # the last ones, for frames that wait

_READERS: dict[type, tuple[Callable[[bytes], Any], Callable[[Any, int], np.ndarray]]] = {
    Image: (view_image, to_rgb),
    CompressedImage: (lambda raw: deserialize_message(raw, CompressedImage), compressed_to_rgb),
}


class Camera:
    """The subscriptions of one camera. Serialized images go to the frame queue; the worker has them
    decoded. `points_wanted` tells whether depth is needed now.

    `topic` is the full name of the topic that images are expected on.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        settings: NodeSettings,
        frame_queue: FrameQueue[Received],
        points_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.statistics = Statistics()
        self.rate_limit = settings.rate_limit
        self.memory = FrameMemory()
        self._max_pixels = settings.max_image_pixels
        self._node, self._frame_queue = node, frame_queue
        self._points_wanted = points_wanted
        self._geometry = settings.geometry()
        self._every = settings.policy == 'every_frame'
        self._kind = CompressedImage if settings.transport == 'compressed' else Image
        self._read, self._to_rgb = _READERS[self._kind]
        image = f'{name}/image' if name else 'image'
        self._input = f'{image}/compressed' if self._kind is CompressedImage else image
        self._group = BackpressureGroup(lambda: not frame_queue.full(name))
        self._infos: deque[tuple[int, CameraInfo]] = deque(maxlen=_CALIBRATIONS)
        self._depth: DepthImages | None = None
        self._depth_input = f'{name}/depth' if name else 'depth'
        self._depth_wait = settings.depth_wait_ms / 1e3
        if settings.points != 'none':
            topic = node.resolve_topic_name(self._depth_input)
            self._depth = DepthImages(topic, settings.queue_size if self._every else 1)
        self.topic = str(node.resolve_topic_name(self._input))
        self.age_limit = AgeLimit(self.topic)
        self._warn_of_age = Throttle(node.get_logger().warning, seconds=30.0, parts=0)
        self._subscriptions: list[Any] = []
        self._due = 0.0
        self._encoding = ''

    @property
    def received(self) -> int:
        """Images that arrived since configure."""
        return self._frame_queue.received[self.name] + self.statistics.limited

    @property
    def replaced(self) -> int:
        """Images that a newer one replaced before they were taken."""
        return self._frame_queue.dropped[self.name]

    @property
    def counts(self) -> FrameCounts:
        """What became of the images that arrived."""
        dropped = self.replaced + self.statistics.skipped
        return FrameCounts(self.received, self.statistics.processed, dropped)

    @property
    def subscribed(self) -> bool:
        """Whether images are received."""
        return bool(self._subscriptions)

    def subscribe(
        self, reliability: ReliabilityPolicy, on_incompatible: Callable[[], None]
    ) -> None:
        """Begin to receive images, with a reliability; `on_incompatible` is called for a publisher
        that does not offer it.
        """
        history = {'history': HistoryPolicy.KEEP_ALL} if self._every else {'depth': 1}

        def subscribe_to_images(event_callbacks: Any) -> Any:
            return self._node.create_subscription(
                self._kind,
                self._input,
                self._receive,
                QoSProfile(reliability=reliability, **history),
                callback_group=self._group,
                event_callbacks=event_callbacks,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
                # A frame that a newer one replaces is never turned into a message.
                raw=True,
            )

        self._subscriptions = [
            subscribe_with_events(subscribe_to_images, self._note_lost, on_incompatible),
            self._node.create_subscription(
                CameraInfo,
                camera_info_topic(self.topic),
                self._receive_info,
                qos_profile_sensor_data,
            ),
        ]
        if self._depth is not None:
            self._subscriptions.append(self._subscribe_to_depth(self._depth))

    def _subscribe_to_depth(self, depth: DepthImages) -> Any:
        depth.clear()
        qos, group = qos_profile_sensor_data, None
        if self._every:
            # Where frames have to wait with DDS, so must their depth images.
            qos = QoSProfile(reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_ALL)
            group = BackpressureGroup(
                lambda: depth.has_room or not self._frame_queue.full(self.name)
            )

        def subscribe(event_callbacks: Any) -> Any:
            return self._node.create_subscription(
                Image,
                self._depth_input,
                self._receive_depth,
                qos,
                callback_group=group,
                event_callbacks=event_callbacks,
                raw=True,
            )

        return subscribe_with_events(subscribe, self._note_lost_depth)

    def unsubscribe(self) -> None:
        """Stop receiving."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def decode(self, received: Received, max_age: float) -> Frame | None:
        """Turn a received image into a frame with all that belongs to it; None when it is older
        than `max_age` seconds (0: any age is fine). Raises PdlError for an image that cannot be
        read.
        """
        started = time.perf_counter()
        message = self._read(received.raw)
        stamp = nanoseconds(message.header.stamp)
        age = seconds_since(message.header.stamp, self._node.get_clock())
        self.statistics.age = age
        if self._depth is not None:
            self._depth.frame_taken(stamp)
        if self._is_too_old(stamp, age, started - received.at, max_age):
            return None
        self._log_encoding(message)
        pixels = self._to_rgb(message, self._max_pixels)
        frame = Frame(
            self._geometry.apply(pixels),
            message.header,
            self.topic,
            (pixels.shape[0], pixels.shape[1]),
            received.at,
            started,
            time.perf_counter(),
            age,
            self._camera_info(stamp),
        )
        if self._depth is None or not self._points_wanted():
            return frame
        try:
            return frame._replace(depth=self._depth.match(stamp))
        except PdlError as error:
            self.statistics.without_depth += 1
            return frame._replace(no_depth=str(error))

    def _is_too_old(self, stamp: int, age: float, waited: float, max_age: float) -> bool:
        too_old = self.age_limit.is_too_old(stamp, age, waited, max_age)
        self.statistics.too_old += too_old
        if self.age_limit.problem:
            self._warn_of_age(self.age_limit.problem)
        return too_old

    def _camera_info(self, stamp: int) -> CameraInfo | None:
        """Return the calibration with the nearest stamp; of several, the last that came."""
        infos = reversed(list(self._infos))
        _, info = min(infos, key=lambda pair: abs(pair[0] - stamp), default=(0, None))
        return info

    def _log_encoding(self, message: Any) -> None:
        kind = message.format if self._kind is CompressedImage else message.encoding
        if kind != self._encoding:
            self._encoding = kind
            self._node.get_logger().info(
                f'{self.topic}: images are {kind!r}.', throttle_duration_sec=5.0
            )

    def _receive(self, raw: bytes) -> None:
        now = time.perf_counter()
        self.statistics.arrived(now)
        if self.rate_limit:
            if now < self._due:
                self.statistics.limited += 1
                return
            # On time on average, but without a burst after a pause.
            self._due = max(self._due, now - 1 / self.rate_limit) + 1 / self.rate_limit
        if self._depth is None:
            self._frame_queue.put(self.name, Received(raw, now))
        else:
            self._receive_for_depth(self._depth, raw, now)
        # The worker goes first: the executor needs the interpreter for 0.5 ms to wait again.
        time.sleep(2e-4)

    def _receive_for_depth(self, depth: DepthImages, raw: bytes, now: float) -> None:
        """Leave an image that may have to wait for its depth image."""
        try:
            stamp = stamp_of(raw)
        except PdlError:  # its decoding will say so
            self._frame_queue.put(self.name, Received(raw, now))
            return
        depth.add_frame(stamp)

        def waits() -> float:
            expected = depth.is_to_come(stamp) and self._points_wanted()
            # Nobody waits for a depth camera that was never started, or has died.
            if not expected or not self._node.count_publishers(depth.topic):
                return 0.0
            return now + self._depth_wait - time.perf_counter()

        self._frame_queue.put(self.name, Received(raw, now, stamp), waits)

    def _receive_info(self, info: CameraInfo) -> None:
        self._infos.append((nanoseconds(info.header.stamp), info))

    def _receive_depth(self, raw: bytes) -> None:
        assert self._depth is not None
        try:
            self._depth.add(raw)
        except PdlError as error:
            self._node.get_logger().error(
                f'{self._depth.topic}: {error}', throttle_duration_sec=5.0
            )
        self._frame_queue.look_again()

    def _note_lost(self, count: int) -> None:
        self.statistics.lost(count, time.perf_counter())

    def _note_lost_depth(self, count: int) -> None:
        self.statistics.lost_depth += count
