"""What the node publishes of one camera's frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from pdl_ros.errors import PdlError, in_words, require
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.camera_model import image_size, is_rectified
from pdl_ros.imaging.masks import coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.messages.frame_messages import LABELS, FrameMessages, with_track_ids
from pdl_ros.messages.instances import frame_timing
from pdl_ros.messages.stamps import nanoseconds
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.events import publisher_events
from pdl_ros.node.input.frame import Frame, camera_info_topic
from pdl_ros.node.output.detections import detections, have_vision_msgs
from pdl_ros.node.output.ros_messages import ROS
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stamps import seconds_since
from pdl_ros.node.statistics import FrameCounts
from pdl_ros.pipeline import StageTimes
from pdl_ros.tracking import Tracker, Tracks, warm_up_tracking
from pdl_ros.visualization import overlay

_DEPTH = 2  # messages kept for a listener, reliable and volatile


class CameraPublishers:
    """The publishers of one camera; `demanded` first, then `publish` what it named."""

    def __init__(
        self,
        node: Node,
        name: str,
        settings: NodeSettings,
        label_set: LabelSet,
        on_match: Callable[[], None] | None = None,
    ) -> None:
        """`on_match` is called when listeners come or go, from Jazzy on."""
        self._node, self._label_set, self._on_match = node, label_set, on_match
        self._geometry = settings.geometry()
        prefix = self._prefix = f'~/{name}/' if name else '~/'
        self._messages = FrameMessages(
            ROS,
            label_set,
            settings.panoptic_encoding,
            settings.compressed_labels,
            settings.points == 'organised',
        )
        self._publishers: dict[str, Publisher] = {
            output: self._publisher(*_image_topic(prefix, output))
            for output in self._messages.writers
        }
        self._publishers['instances'] = self._publisher(PanopticInstanceArray, f'{prefix}instances')
        self._publishers['timing'] = self._publisher(FrameTiming, f'{prefix}timing')
        if have_vision_msgs():
            from vision_msgs.msg import Detection2DArray

            self._publishers['detections'] = self._publisher(
                Detection2DArray, f'{prefix}detections'
            )
        if settings.points != 'none':
            self._publishers['points'] = self._publisher(PointCloud2, f'{prefix}points')
        self._lens = ''
        self._tracker = Tracker()
        if settings.tracking:
            warm_up_tracking()
        self._camera_info = self._publisher(CameraInfo, f'{prefix}semantic/camera_info')

    def describe(self) -> list[str]:
        """Say of each topic what it carries and how."""
        writers = self._messages.writers
        return [
            f'{p.topic_name} ({p.msg_type.__module__.split(".")[0]}/{p.msg_type.__name__}'
            f'{" " + writers[name].encoding if name in writers else ""}, '
            f'{p.qos_profile.reliability.name.lower()}, keep last {p.qos_profile.depth})'
            for name, p in (*self._publishers.items(), ('camera_info', self._camera_info))
        ]

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._publishers.values(), self._camera_info):
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def demanded(self, settings: NodeSettings) -> frozenset[str]:
        """Return the outputs that are wanted now; without any, a frame costs nothing."""
        return frozenset(
            name
            for name, publisher in self._publishers.items()
            if name.partition('/')[0] in settings.outputs and publisher.get_subscription_count()
        )

    def publish(
        self,
        frame: Frame,
        result: PanopticResult,
        demanded: frozenset[str],
        settings: NodeSettings,
    ) -> list[str]:
        """Publish the demanded outputs of a frame, all under its own header, but for its timing.

        All are made before the first is published: a frame is out, whole, or it is not, and then
        this raises. What is only an extra (points, camera_info) costs itself; what went wrong with
        it is returned, in sentences.
        """
        if settings.tracking:
            tracks = self._track(frame, result)
            result = with_track_ids(result, tracks)
        else:
            tracks = None
        labels = [name for name in LABELS if name in demanded]
        compressed = [f'{name}/compressed' for name in LABELS if f'{name}/compressed' in demanded]
        wrong: list[str] = []
        made = [
            *self._messages.labels(labels, result, frame.header),
            *self._things(frame, result, tracks, demanded, settings),
            *self._extras(frame, result, demanded, wrong),
            # What people look at comes after what machines wait for.
            *self._pictures(frame, result, demanded, settings.overlay_alpha),
            *self._messages.labels(compressed, result, frame.header),
        ]
        for name, message in made:
            wrong += self._send(name, message)
        return wrong

    def publish_timing(
        self,
        frame: Frame,
        stages: StageTimes,
        segmented_at: float,
        published_at: float,
        counts: FrameCounts,
        batch_size: int = 1,
    ) -> list[str]:
        """Publish how long a frame took, and the counts of its camera; times on the steady clock,
        seconds. Return what went wrong, as `publish` does.
        """
        timing = frame_timing(
            ROS,
            frame.header,
            stages,
            queue_age_ms=1e3 * (frame.started_at - frame.received_at),
            decode_ms=1e3 * (frame.decoded_at - frame.started_at),
            batch_size=batch_size,
            publish_ms=1e3 * (published_at - segmented_at),
            total_ms=1e3 * (published_at - frame.received_at),
            age_ms=1e3 * seconds_since(frame.header.stamp, self._node.get_clock()),
            frames_received=counts.received,
            frames_processed=counts.processed,
            frames_dropped=counts.dropped,
        )
        return self._send('timing', timing)

    def _send(self, name: str, message: Any) -> list[str]:
        """Publish a message; what is wrong with one topic must not keep a frame from the others."""
        publisher = self._camera_info if name == 'camera_info' else self._publishers[name]
        try:
            publisher.publish(message)
        except Exception as error:
            return [f'{self._prefix}{name} is not published, {in_words(error)}']
        return []

    def _track(self, frame: Frame, result: PanopticResult) -> Tracks:
        tracks = self._tracker.update(result, nanoseconds(frame.header.stamp))
        if tracks.reset:
            self._node.get_logger().info(f'Tracking starts anew: {tracks.reset}.')
        return tracks

    def _things(
        self,
        frame: Frame,
        result: PanopticResult,
        tracks: Tracks | None,
        demanded: frozenset[str],
        settings: NodeSettings,
    ) -> Iterator[tuple[str, Any]]:
        """Make the demanded lists of things."""
        header, made = frame.header, self._messages
        if 'instances' in demanded:
            yield 'instances', made.instances(result, header, settings.mask_encoding, tracks)
        if 'detections' in demanded:
            tracked = settings.tracking
            yield 'detections', detections(result, self._label_set, header, tracked=tracked)

    def _extras(
        self, frame: Frame, result: PanopticResult, demanded: frozenset[str], wrong: list[str]
    ) -> Iterator[tuple[str, Any]]:
        """Make what a frame can be out without; add to `wrong` why it is."""
        extras: dict[str, Callable[[Frame, PanopticResult], Any]] = {}
        if 'points' in demanded:
            extras['points'] = self._points
        if frame.camera_info is not None and self._camera_info.get_subscription_count():
            extras['camera_info'] = self._camera_info_of
        for name, make in extras.items():
            try:
                message = make(frame, result)
            except Exception as error:
                wrong.append(f'{frame.topic}: no {name}: {in_words(error)}')
            else:
                yield name, message

    def _pictures(
        self, frame: Frame, result: PanopticResult, demanded: frozenset[str], alpha: float
    ) -> Iterator[tuple[str, Any]]:
        if 'overlay' in demanded:
            yield 'overlay', self._messages.overlay(frame, result, alpha)

    def _points(self, frame: Frame, result: PanopticResult) -> PointCloud2:
        depth, info = frame.depth, frame.camera_info
        if depth is None:
            raise PdlError(frame.no_depth or 'nobody listened when the frame came.')
        if info is None:
            raise PdlError(f'camera_info has not arrived on {camera_info_topic(frame.topic)}.')
        self._log_lens(frame.topic, info)
        return self._messages.points(frame, result, depth, info)

    def _log_lens(self, topic: str, info: CameraInfo) -> None:
        """Say once which rays the points of a lens lie on, as nobody can see that in the image."""
        rectified, lens = is_rectified(info), ''
        if not rectified or info.distortion_model == 'equidistant':
            how = 'rectified, by P' if rectified else 'not rectified, by K and D'
            lens = (
                f'{topic}: the camera_info is of a lens ({info.distortion_model}); depth images '
                f'are taken as {how}.'
            )
        if lens != self._lens:
            self._lens = lens
            self._node.get_logger().info(lens)

    def _camera_info_of(self, frame: Frame, result: PanopticResult) -> CameraInfo:
        info = frame.camera_info
        assert info is not None
        (height, width), (high, wide) = image_size(info), frame.image_size
        require(
            (height, width) in ((high, wide), (0, 0)),
            f'the image is {wide}x{high}, but its camera_info is of {width}x{height}; they must '
            'come from the same camera, and a driver that scales the image must say so in it.',
        )
        size = (result.panoptic.shape[0], result.panoptic.shape[1])
        changed = copy.copy(self._geometry.camera_info_for(info, size))
        changed.header = frame.header
        return changed

    def _publisher(self, message_type: type, topic: str) -> Any:
        return self._node.create_publisher(
            message_type,
            topic,
            QoSProfile(depth=_DEPTH),  # its own: overrides are written into it
            event_callbacks=publisher_events(self._on_match),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def warm_up_outputs(label_set: LabelSet) -> None:
    """Have what draws overlays and codes masks compiled, or read from disk, before a frame."""
    rgb, labels = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.int32)
    coco_masks(labels, [0])
    for ours in (True, False):  # a frame that lies in its message cannot be written to
        rgb.flags.writeable = ours
        overlay(rgb, labels, label_set)


def _image_topic(prefix: str, output: str) -> tuple[type, str]:
    """Return the type and the topic of an output of images, `semantic/compressed` and the like."""
    name, _, compressed = output.partition('/')
    if compressed:
        return CompressedImage, f'{prefix}{name}/image/compressed'
    return Image, f'{prefix}{name}/image'
