"""The panoptic node: camera to mailbox, mailbox to worker, worker to publishers."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.time import Time
from sensor_msgs.msg import Image

from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult
from pdl_ros.msg import FrameTiming, LabelInfo, PanopticInstanceArray
from pdl_ros.network.variants import get_variant
from pdl_ros.node import messages, parameters
from pdl_ros.node.images import ImageWriter, to_rgb
from pdl_ros.node.mailbox import Mailbox
from pdl_ros.pipeline import Segmenter, StageTimes
from pdl_ros.visualization import overlay

OUTPUT_QOS = QoSProfile(depth=2)
"""Label images and messages: reliable, volatile, the last two."""
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class _Received(NamedTuple):
    message: Image
    at: float  # steady clock, seconds


class PanopticNode(Node):
    """Segment every newest frame of `image` and publish what somebody listens to.

    Made in a working state; raises PdlError when a parameter or the weights are wrong. Call `stop`
    before destroying it.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__('panoptic_node', **node_arguments)
        self.settings = parameters.declare(self)
        variant = get_variant(self.settings.variant).name
        self.segmenter = Segmenter.load(
            self.settings.weights or variant, self.settings.device, variant
        )
        self.segmenter.fusion = self.settings.fusion(self.segmenter.fusion)
        self.segmenter.warm_up()
        self.mailbox: Mailbox[_Received] = Mailbox()
        self.processed = 0
        self.unreadable = 0
        self._writers = {
            'semantic': ImageWriter('mono8'),
            'instance': ImageWriter('16UC1'),
            'panoptic': ImageWriter('16UC1'),
            'overlay': ImageWriter('rgb8'),
        }
        self._images = {name: self._publisher(Image, f'~/{name}/image') for name in self._writers}
        self._instances = self._publisher(PanopticInstanceArray, '~/instances')
        self._timing = self._publisher(FrameTiming, '~/timing')
        self._label_info = self._publisher(LabelInfo, '~/label_info', _LATCHED)
        self._frame_id = ''
        self._publish_label_info()
        # On the steady clock: a paused simulation must not silence it.
        self._timer = self.create_timer(
            self.settings.label_info_period,
            self._publish_label_info,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._worker = threading.Thread(target=self._work, name='segmenter', daemon=True)
        self._worker.start()
        self._subscription = self._subscribe()
        self.get_logger().info(
            f'Ready: {variant} on {self.segmenter.device}, waiting for images on '
            f'{self._subscription.topic_name} '
            f'({self.settings.image_qos}), publishing under {self.get_fully_qualified_name()}/.'
        )

    def stop(self, timeout: float = 0.8) -> bool:
        """End the worker; False when a frame still computes after `timeout` seconds."""
        self.mailbox.close()
        self._worker.join(timeout)
        return not self._worker.is_alive()

    def _publisher(self, message_type: type, topic: str, qos: QoSProfile = OUTPUT_QOS) -> Publisher:
        return self.create_publisher(
            message_type,
            topic,
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _subscribe(self) -> Any:
        reliability = (
            ReliabilityPolicy.RELIABLE
            if self.settings.image_qos == 'reliable'
            else qos_profile_sensor_data.reliability
        )
        return self.create_subscription(
            Image,
            'image',
            lambda message: self.mailbox.put(_Received(message, time.perf_counter())),
            QoSProfile(depth=1, reliability=reliability),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _work(self) -> None:
        while (received := self.mailbox.take()) is not None:
            try:
                self._process(received)
            except PdlError as error:
                self.unreadable += 1
                self.get_logger().error(f'Frame skipped: {error}', throttle_duration_sec=5.0)
            except Exception as error:  # a fault of one frame must not end the node
                if not self.context.ok():
                    return  # shut down under our hands
                self.unreadable += 1
                self.get_logger().error(
                    f'Frame skipped, {type(error).__name__}: {error}', throttle_duration_sec=5.0
                )

    def _process(self, received: _Received) -> None:
        """Segment one frame and publish what is listened to; nothing is computed for nobody."""
        started = time.perf_counter()
        listened = {
            name for name, publisher in self._images.items() if publisher.get_subscription_count()
        }
        others = [p for p in (self._instances, self._timing) if p.get_subscription_count()]
        if not listened and not others:
            return
        rgb = to_rgb(received.message)
        decoded = time.perf_counter()
        result, stages = self.segmenter.timed(rgb)
        self.processed += 1
        segmented = time.perf_counter()
        header = received.message.header
        for name in self._images:
            if name in listened:
                pixels = self._picture(name, rgb, result)
                self._images[name].publish(self._writers[name].fill(pixels, header))
        if self._instances in others:
            encoding = '' if self.settings.mask_encoding == 'none' else self.settings.mask_encoding
            self._instances.publish(
                messages.instance_array(result, self.segmenter.label_set, header, encoding)
            )
        if self._timing in others:
            self._timing.publish(
                self._frame_timing(received, (started, decoded, segmented), stages)
            )
        self._frame_id = header.frame_id

    def _picture(self, name: str, rgb: Any, result: PanopticResult) -> Any:
        if name == 'overlay':
            return overlay(
                rgb, result.panoptic.numpy(), self.segmenter.label_set, self.settings.overlay_alpha
            )
        return getattr(result, name).numpy()

    def _frame_timing(
        self, received: _Received, marks: tuple[float, float, float], stages: StageTimes
    ) -> FrameTiming:
        started, decoded, segmented = marks
        now = time.perf_counter()
        age = self.get_clock().now() - Time.from_msg(
            received.message.header.stamp, self.get_clock().clock_type
        )
        return FrameTiming(
            header=received.message.header,
            queue_age_ms=1e3 * (started - received.at),
            decode_ms=1e3 * (decoded - started),
            **stages._asdict(),
            publish_ms=1e3 * (now - segmented),
            total_ms=1e3 * (now - received.at),
            age_ms=age.nanoseconds / 1e6,
            frames_received=self.mailbox.received,
            frames_processed=self.processed,
            frames_dropped=self.mailbox.dropped + self.unreadable,
        )

    def _publish_label_info(self) -> None:
        message = messages.label_info(self.segmenter.label_set, Image().header)
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self._frame_id
        self._label_info.publish(message)
