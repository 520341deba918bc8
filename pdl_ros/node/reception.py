"""Subscribing to cameras with a QoS that works, and saying why nothing arrives."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stream import CameraStream

_SILENCE = 5.0  # seconds without an image after which the reason is looked for
_RELIABLE, _BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Reception:
    """The subscriptions of all cameras, from activate to deactivate; ask `watch` every second."""

    def __init__(self, node: Node, streams: Iterable[CameraStream], settings: NodeSettings) -> None:
        self._node, self._settings = node, settings
        self._streams = list(streams)
        self._asked = {stream.camera: self._reliability(stream) for stream in self._streams}
        self._waiting_since = {s.camera: time.perf_counter() for s in self._streams}
        self._told: set[str] = set()
        self._misfits: set[str] = set()
        for stream in self._streams:
            self._subscribe(stream)

    def close(self) -> None:
        """Stop receiving."""
        for stream in self._streams:
            stream.unsubscribe()

    def watch(self) -> None:
        """Say once why a camera is silent; follow what it offers where the QoS is auto."""
        now = time.perf_counter()
        for stream in self._streams:
            camera = stream.camera
            if camera in self._misfits:
                self._misfits.discard(camera)
                self._node.get_logger().error(
                    f'{stream.topic}: the QoS of a publisher does not fit; asked for is '
                    f'{self._asked[camera].name.lower()}, {self._offers(stream)}'
                )
            heard = max(stream.books.last_arrival, self._waiting_since[camera])
            if now - heard < _SILENCE:
                if camera in self._told and stream.books.last_arrival > self._waiting_since[camera]:
                    self._told.discard(camera)
                    self._node.get_logger().info(f'{stream.topic}: images arrive again.')
                continue
            if (
                self._settings.image_qos == 'auto'
                and self._reliability(stream) != self._asked[camera]
            ):
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
