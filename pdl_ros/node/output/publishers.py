"""What the node publishes of one camera's frames."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from pdl_ros.errors import PdlError, in_words, require
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.masks import coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.msg import FrameTiming, PanopticInstanceArray
from pdl_ros.node.events import publisher_events
from pdl_ros.node.input.frame import Frame, camera_info_topic
from pdl_ros.node.input.geometry import image_size, is_rectified
from pdl_ros.node.output import messages
from pdl_ros.node.output.detections import detections, have_vision_msgs
from pdl_ros.node.output.images import ImageWriter, PngWriter
from pdl_ros.node.output.point_cloud import CloudWriter
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stamps import nanoseconds, seconds_since
from pdl_ros.node.statistics import FrameCounts
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
        self._geometry = settings.geometry()
        prefix = self._prefix = f'~/{name}/' if name else '~/'
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
        self._lens = ''
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
            result = _with_track_ids(result, tracks)
        else:
            tracks = None
        labels = [(name, name) for name in _LABELS]
        compressed = [(f'{name}/compressed', name) for name in _LABELS]
        wrong: list[str] = []
        made = [
            *self._labels(labels, demanded, result, frame.header),
            *self._things(frame, result, tracks, demanded, settings),
            *self._extras(frame, result, demanded, wrong),
            # What people look at comes after what machines wait for.
            *self._overlays(frame, result, demanded, settings.overlay_alpha),
            *self._labels(compressed, demanded, result, frame.header),
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
        timing = FrameTiming(
            header=frame.header,
            queue_age_ms=1e3 * (frame.started_at - frame.received_at),
            decode_ms=1e3 * (frame.decoded_at - frame.started_at),
            **stages._asdict(),
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

    def _labels(
        self,
        pairs: list[tuple[str, str]],
        demanded: frozenset[str],
        result: PanopticResult,
        header: Any,
    ) -> list[tuple[str, Any]]:
        """Make the demanded label images; pairs: the name of an output and of a result's map."""
        pairs = [pair for pair in pairs if pair[0] in demanded]
        filled: dict[int, Any] = {}

        def fill(item: int, _: int) -> None:
            output, name = pairs[item]
            filled[item] = self._writers[output].fill(getattr(result, name).numpy(), header)

        parallel_for(fill, len(pairs), num_threads())
        return [(output, filled[item]) for item, (output, _) in enumerate(pairs)]

    def _things(
        self,
        frame: Frame,
        result: PanopticResult,
        tracks: Tracks | None,
        demanded: frozenset[str],
        settings: NodeSettings,
    ) -> Iterator[tuple[str, Any]]:
        """Make the demanded lists of things."""
        header, label_set = frame.header, self._label_set
        if 'instances' in demanded:
            encoding = '' if settings.mask_encoding == 'none' else settings.mask_encoding
            yield (
                'instances',
                messages.instance_array(result, label_set, header, encoding, tracks),
            )
        if 'detections' in demanded:
            yield 'detections', detections(result, label_set, header, tracked=settings.tracking)

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

    def _overlays(
        self, frame: Frame, result: PanopticResult, demanded: frozenset[str], alpha: float
    ) -> Iterator[tuple[str, Any]]:
        """Draw the overlay, if it is demanded."""
        if 'overlay' in demanded:
            height, width = result.panoptic.shape
            rgb = frame.rgb
            if rgb.shape[:2] != (height, width):
                rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
            message, picture = self._overlay.blank(height, width, frame.header)
            overlay(rgb, result.panoptic.numpy(), self._label_set, alpha, picture)
            yield 'overlay', message

    def _points(self, frame: Frame, result: PanopticResult) -> PointCloud2:
        depth, info = frame.depth, frame.camera_info
        if depth is None:
            raise PdlError(frame.no_depth or 'nobody listened when the frame came.')
        if info is None:
            raise PdlError(f'camera_info has not arrived on {camera_info_topic(frame.topic)}.')
        self._log_lens(frame.topic, info)
        maps = result.semantic.numpy(), result.instance.numpy()
        return self._cloud.fill(depth, info, frame.rgb, *maps, depth.header)

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


def _with_track_ids(result: PanopticResult, tracks: Tracks) -> PanopticResult:
    """Return the result with track ids in place of running ids; the 16-bit images hold 65535."""
    table = result.segments
    ids = table.instance_id.clone()
    ids[table.is_thing] = torch.from_numpy((tracks.track_id.astype(np.int64) - 1) % 65535 + 1).int()
    relabelled = tracks.relabel(result.instance.numpy(), np.uint16).astype(np.int32)
    return result._replace(
        instance=torch.from_numpy(relabelled), segments=table._replace(instance_id=ids)
    )
