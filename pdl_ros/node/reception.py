"""Subscribing to cameras with a QoS that works, and saying why nothing arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stream import CameraStream

_SILENCE = 5.0  # seconds without an image after which the reason is looked for
_RELIABLE, _BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Reception:
    """The subscriptions of all cameras, from activate to deactivate; ask `watch` every second.

    With `lazy`, only of the cameras that are `wanted`, which `follow_demand` looks at again.
    """

    def __init__(
        self,
        node: Node,
        streams: Iterable[CameraStream],
        settings: NodeSettings,
        wanted: Callable[[str], bool],
    ) -> None:
        self._node, self._settings, self._wanted = node, settings, wanted
        self._lock = threading.RLock()  # listeners come and go while `watch` looks
        self._closed = False
        self._streams = list(streams)
        self._asked = {stream.camera: self._reliability(stream) for stream in self._streams}
        self._waiting_since = {s.camera: time.perf_counter() for s in self._streams}
        self._told: set[str] = set()
        self._misfits: set[str] = set()
        self.follow_demand()

    def close(self) -> None:
        """Stop receiving."""
        with self._lock:
            self._closed = True
            for stream in self._streams:
                stream.unsubscribe()

    def follow_demand(self) -> None:
        """Subscribe to the cameras that are wanted, and leave those that no longer are."""
        with self._lock:
            for stream in () if self._closed else self._streams:
                wanted = not self._settings.lazy or self._wanted(stream.camera)
                if wanted and not stream.subscribed:
                    self._waiting_since[stream.camera] = time.perf_counter()
                    self._subscribe(stream)
                elif stream.subscribed and not wanted:
                    stream.unsubscribe()
                    self._node.get_logger().info(f'Left {stream.topic}: nobody listens.')

    def watch(self) -> None:
        """Say once why a camera is silent; follow what it offers where the QoS is auto."""
        with self._lock:
            self.follow_demand()
            for stream in self._streams:
                if stream.subscribed:
                    self._watch(stream, time.perf_counter())

    def _watch(self, stream: CameraStream, now: float) -> None:
        camera = stream.camera
        if camera in self._misfits:
            self._misfits.discard(camera)
            self._node.get_logger().error(
                f'{stream.topic}: the QoS of a publisher does not fit; asked for is '
                f'{self._asked[camera].name.lower()}, {self._offers(stream)}'
            )
        if now - max(stream.books.last_arrival, self._waiting_since[camera]) < _SILENCE:
            if camera in self._told and stream.books.last_arrival > self._waiting_since[camera]:
                self._told.discard(camera)
                self._node.get_logger().info(f'{stream.topic}: images arrive again.')
            return
        if self._settings.image_qos == 'auto' and self._reliability(stream) != self._asked[camera]:
            self._asked[camera] = self._reliability(stream)
            stream.unsubscribe()
            self._subscribe(stream)
        if camera not in self._told:
            self._told.add(camera)
            self._node.get_logger().warning(
                f'No image on {stream.topic} for {_SILENCE:.0f} s: {self._offers(stream)}'
            )

    def _subscribe(self, stream: CameraStream) -> None:
        reliability = self._asked[stream.camera]
        stream.subscribe(
            reliability,
            SubscriptionEventCallbacks(
                # Told a second later: now DDS does not know the publisher's name yet.
                incompatible_qos=lambda event: self._misfits.add(stream.camera)
            ),
        )
        self._node.get_logger().info(
            f'Subscribed to {stream.topic} ({self._settings.transport}, '
            f'{reliability.name.lower()}): {self._offers(stream)}'
        )

    def _reliability(self, stream: CameraStream) -> ReliabilityPolicy:
        if self._settings.image_qos == 'reliable' or self._settings.policy == 'every_frame':
            return _RELIABLE
        if self._settings.image_qos == 'auto':
            offers = self._publishers(stream)
            if offers and all(o.qos_profile.reliability == _RELIABLE for o in offers):
                return _RELIABLE
        return _BEST_EFFORT

    def _publishers(self, stream: CameraStream) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(stream.topic))

    def _offers(self, stream: CameraStream) -> str:
        """Name the publishers of a topic and what they offer, in a sentence."""
        found = [
            f'{o.node_namespace.rstrip("/")}/{o.node_name} offers {o.topic_type}, '
            f'{o.qos_profile.reliability.name.lower()}, {o.qos_profile.durability.name.lower()}'
            for o in self._publishers(stream)
        ]
        return '; '.join(found) + '.' if found else 'nobody publishes there.'
