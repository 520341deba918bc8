"""Subscribing to cameras with a QoS that works, and saying why nothing arrives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy

from pdl_ros.node.input.camera import Camera
from pdl_ros.node.parameters import NodeSettings

_SILENCE = 5.0  # seconds without an image after which the reason is looked for
_RELIABLE, _BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT


class Subscriptions:
    """The subscriptions of all cameras, from activate to deactivate; ask `watch` every second.

    With `lazy`, only of the cameras that are `wanted`, which `follow_demand` looks at again.
    """

    def __init__(
        self,
        node: Node,
        cameras: Iterable[Camera],
        settings: NodeSettings,
        wanted: Callable[[str], bool],
    ) -> None:
        self._node, self._settings, self._wanted = node, settings, wanted
        self._lock = threading.RLock()  # listeners come and go while `watch` looks
        self._closed = False
        self._cameras = list(cameras)
        self._requested = {camera.name: self._reliability(camera) for camera in self._cameras}
        self._waiting_since = {c.name: time.perf_counter() for c in self._cameras}
        self._silent: set[str] = set()
        self._lossy: set[str] = set()
        self._incompatible: set[str] = set()
        self.follow_demand()

    def close(self) -> None:
        """Stop receiving."""
        with self._lock:
            self._closed = True
            for camera in self._cameras:
                camera.unsubscribe()

    def follow_demand(self) -> None:
        """Subscribe to the cameras that are wanted, and leave those that no longer are."""
        with self._lock:
            for camera in () if self._closed else self._cameras:
                wanted = not self._settings.lazy or self._wanted(camera.name)
                if wanted and not camera.subscribed:
                    self._waiting_since[camera.name] = time.perf_counter()
                    self._subscribe(camera)
                elif camera.subscribed and not wanted:
                    camera.unsubscribe()
                    self._node.get_logger().info(
                        f'Unsubscribed from {camera.topic}: its outputs have no subscriber.'
                    )

    def watch(self) -> None:
        """Log once why nothing arrives of a camera, or not all; follow what it offers where the
        QoS is auto.
        """
        with self._lock:
            self.follow_demand()
            for camera in self._cameras:
                if camera.subscribed:
                    self._watch(camera, time.perf_counter())

    def _watch(self, camera: Camera, now: float) -> None:
        name = camera.name
        if name in self._incompatible:
            self._incompatible.discard(name)
            self._node.get_logger().error(
                f'{camera.topic}: the QoS of a publisher is incompatible; requested is '
                f'{self._requested[name].name.lower()}, {self._offered(camera)}'
            )
        self._watch_losses(camera, now)
        if now - max(camera.statistics.last_arrival, self._waiting_since[name]) < _SILENCE:
            if name in self._silent and camera.statistics.last_arrival > self._waiting_since[name]:
                self._silent.discard(name)
                self._node.get_logger().info(f'{camera.topic}: images arrive again.')
            return
        if (
            self._settings.image_qos == 'auto'
            and self._reliability(camera) != self._requested[name]
        ):
            self._requested[name] = self._reliability(camera)
            camera.unsubscribe()
            self._subscribe(camera)
        if name not in self._silent:
            self._silent.add(name)
            self._node.get_logger().warning(
                f'No image on {camera.topic} for {_SILENCE:.0f} s: {self._offered(camera)}'
            )

    def _watch_losses(self, camera: Camera, now: float) -> None:
        """Log once that images are lost on their way, until they no longer are."""
        losses = camera.statistics.losses(camera.topic, now)
        if losses and camera.name not in self._lossy:
            self._lossy.add(camera.name)
            self._node.get_logger().warning(losses)
        elif not losses:
            self._lossy.discard(camera.name)

    def _subscribe(self, camera: Camera) -> None:
        reliability = self._requested[camera.name]
        # Logged a second later: now DDS does not know the publisher's name yet.
        camera.subscribe(reliability, lambda: self._incompatible.add(camera.name))
        self._node.get_logger().info(
            f'Subscribed to {camera.topic} ({self._settings.transport}, '
            f'{reliability.name.lower()}): {self._offered(camera)}'
        )

    def _reliability(self, camera: Camera) -> ReliabilityPolicy:
        if self._settings.image_qos == 'reliable' or self._settings.policy == 'every_frame':
            return _RELIABLE
        if self._settings.image_qos == 'auto':
            offers = self._publishers(camera)
            if offers and all(o.qos_profile.reliability == _RELIABLE for o in offers):
                return _RELIABLE
        return _BEST_EFFORT

    def _publishers(self, camera: Camera) -> list[Any]:
        return list(self._node.get_publishers_info_by_topic(camera.topic))

    def _offered(self, camera: Camera) -> str:
        """Name the publishers of a topic and what they offer, in a sentence."""
        found = [
            f'{o.node_namespace.rstrip("/")}/{o.node_name} offers {o.topic_type}, '
            f'{o.qos_profile.reliability.name.lower()}, {o.qos_profile.durability.name.lower()}'
            for o in self._publishers(camera)
        ]
        return '; '.join(found) + '.' if found else 'it has no publisher.'
