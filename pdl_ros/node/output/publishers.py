"""What the node publishes of one camera's frames."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from pdl_ros.errors import PdlError
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.masks import coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.input.camera import Camera, Frame
from pdl_ros.node.output import messages
from pdl_ros.node.output.detections import detections, have_vision_msgs
from pdl_ros.node.output.images import ImageWriter, PngWriter
from pdl_ros.node.output.point_cloud import CloudWriter
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.pipeline import StageTimes
from pdl_ros.runtime.thread_pool import num_threads, parallel_for
from pdl_ros.tracking import Tracker, Tracks
from pdl_ros.visualization import overlay

_DEPTH = 2  # messages kept for a listener, reliable and volatile
_LABELS = {'semantic': 'mono8', 'instance': '16UC1', 'panoptic': '16UC1'}


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
        prefix = f'~/{name}/' if name else '~/'
        encodings = {**_LABELS, 'panoptic': settings.panoptic_encoding}
        self._overlay = ImageWriter('rgb8')
        self._writers: dict[str, ImageWriter | PngWriter] = {
            output: ImageWriter(encoding) for output, encoding in encodings.items()
        }
        self._writers['overlay'] = self._overlay
        self._publishers: dict[str, Publisher] = {
            output: self._publisher(Image, f'{prefix}{output}/image') for output in self._writers
        }
        for output, encoding in _LABELS.items() if settings.compressed_labels else ():
            self._writers[f'{output}/compressed'] = PngWriter(encoding)
            self._publishers[f'{output}/compressed'] = self._publisher(
                CompressedImage, f'{prefix}{output}/image/compressed'
            )
        self._publishers['instances'] = self._publisher(PanopticInstanceArray, f'{prefix}instances')
        self._publishers['timing'] = self._publisher(FrameTiming, f'{prefix}timing')
        if have_vision_msgs():
            from vision_msgs.msg import Detection2DArray

            self._publishers['detections'] = self._publisher(
                Detection2DArray, f'{prefix}detections'
            )
        if settings.points != 'none':
            self._publishers['points'] = self._publisher(PointCloud2, f'{prefix}points')
        self._cloud = CloudWriter(settings.points == 'organised')
        self._tracker = Tracker()
        self._camera_info = self._publisher(CameraInfo, f'{prefix}semantic/camera_info')

    def describe(self) -> list[str]:
        """Say of each topic what it carries and how."""
        return [
            f'{p.topic_name} ({p.msg_type.__module__.split(".")[0]}/{p.msg_type.__name__}'
            f'{" " + self._writers[name].encoding if name in self._writers else ""}, '
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
        camera: Camera,
        frame: Frame,
        result: PanopticResult,
        stages: StageTimes,
        demanded: frozenset[str],
        settings: NodeSettings,
        batch_size: int = 1,
    ) -> None:
        """Publish the demanded outputs of a frame, all under its own header."""
        segmented = time.perf_counter()
        tracks = None
        if settings.tracking:
            tracks = self._track(frame, result)
            result = _with_track_ids(result, tracks)
        self._publish_labels(
            [(name, name) for name in _LABELS if name in demanded], result, frame.header
        )
        if 'instances' in demanded:
            encoding = '' if settings.mask_encoding == 'none' else settings.mask_encoding
            self._publishers['instances'].publish(
                messages.instance_array(result, self._label_set, frame.header, encoding, tracks)
            )
        if 'detections' in demanded:
            self._publishers['detections'].publish(
                detections(result, self._label_set, frame.header, tracked=settings.tracking)
            )
        if 'points' in demanded:
            self._publish_points(camera, frame, result)
        # What people look at comes after what machines wait for.
        if 'overlay' in demanded:
            self._publish_overlay(frame, result, settings.overlay_alpha)
        compressed = [(f'{name}/compressed', name) for name in _LABELS]
        self._publish_labels(
            [pair for pair in compressed if pair[0] in demanded], result, frame.header
        )
        self._publish_camera_info(camera, frame, result)
        now = time.perf_counter()
        camera.statistics.published(frame.header.frame_id, now, now - frame.received_at)
        if 'timing' in demanded:
            self._publishers['timing'].publish(
                FrameTiming(
                    header=frame.header,
                    queue_age_ms=1e3 * (frame.started_at - frame.received_at),
                    decode_ms=1e3 * (frame.decoded_at - frame.started_at),
                    **stages._asdict(),
                    batch_size=batch_size,
                    publish_ms=1e3 * (now - segmented),
                    total_ms=1e3 * (now - frame.received_at),
                    age_ms=1e3 * camera.age(frame.header),
                    frames_received=camera.received,
                    frames_processed=camera.statistics.processed,
                    frames_dropped=camera.replaced + camera.statistics.lost,
                )
            )

    def _track(self, frame: Frame, result: PanopticResult) -> Tracks:
        stamp = frame.header.stamp
        tracks = self._tracker.update(result, stamp.sec * 10**9 + stamp.nanosec)
        if tracks.reset:
            self._node.get_logger().info(f'Tracking starts anew: {tracks.reset}.')
        return tracks

    def _publish_labels(
        self, pairs: list[tuple[str, str]], result: PanopticResult, header: Any
    ) -> None:
        """Publish label maps of a result; pairs: of a publisher's name and a map's."""
        filled: dict[int, Any] = {}

        def fill(item: int, _: int) -> None:
            publisher, name = pairs[item]
            filled[item] = self._writers[publisher].fill(getattr(result, name).numpy(), header)

        parallel_for(fill, len(pairs), num_threads())
        for item, (publisher, _) in enumerate(pairs):
            self._publishers[publisher].publish(filled[item])

    def _publish_overlay(self, frame: Frame, result: PanopticResult, alpha: float) -> None:
        height, width = result.panoptic.shape
        rgb = frame.rgb
        if rgb.shape[:2] != (height, width):
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        message, picture = self._overlay.blank(height, width, frame.header)
        overlay(rgb, result.panoptic.numpy(), self._label_set, alpha, picture)
        self._publishers['overlay'].publish(message)

    def _publish_points(self, camera: Camera, frame: Frame, result: PanopticResult) -> None:
        info = camera.camera_info
        try:
            depth = camera.depth_of(frame)
            if depth is None or info is None:
                self._node.get_logger().warning(
                    f'No points: {"depth" if depth is None else "camera_info"} has not arrived '
                    f'for {camera.topic}.',
                    throttle_duration_sec=5.0,
                )
                return
            maps = result.semantic.numpy(), result.instance.numpy()
            points = self._cloud.fill(depth, info, frame.rgb, *maps, depth.header)
        except PdlError as error:  # the camera's own image is well
            self._node.get_logger().error(
                f'{camera.topic}: no points: {error}', throttle_duration_sec=5.0
            )
            return
        self._publishers['points'].publish(points)

    def _publish_camera_info(self, camera: Camera, frame: Frame, result: PanopticResult) -> None:
        info = camera.camera_info
        if info is None or not self._camera_info.get_subscription_count():
            return
        height, width = result.panoptic.shape
        changed = camera.geometry.camera_info_for(info, (height, width))
        changed.header = frame.header
        self._camera_info.publish(changed)

    def _publisher(self, message_type: type, topic: str) -> Any:
        return self._node.create_publisher(
            message_type,
            topic,
            QoSProfile(depth=_DEPTH),  # its own: overrides are written into it
            event_callbacks=_match_events(self._on_match) if self._on_match else None,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )


def warm_up_outputs(label_set: LabelSet) -> None:
    """Have what draws overlays and codes masks compiled, or read from disk, before a frame."""
    rgb, labels = np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.int32)
    coco_masks(labels, [0])
    for ours in (True, False):  # a frame that lies in its message cannot be written to
        rgb.flags.writeable = ours
        overlay(rgb, labels, label_set)


def _match_events(on_match: Callable[[], None]) -> PublisherEventCallbacks:
    try:
        return PublisherEventCallbacks(matched=lambda _: on_match())
    except TypeError:  # Humble has no such event
        return PublisherEventCallbacks()


def _with_track_ids(result: PanopticResult, tracks: Tracks) -> PanopticResult:
    """Return the result with track ids in place of running ids; the 16-bit images hold 65535."""
    table = result.segments
    ids = table.instance_id.clone()
    ids[table.is_thing] = torch.from_numpy((tracks.track_id.astype(np.int64) - 1) % 65535 + 1).int()
    relabelled = tracks.relabel(result.instance.numpy(), np.uint16).astype(np.int32)
    return result._replace(
        instance=torch.from_numpy(relabelled), segments=table._replace(instance_id=ids)
    )
