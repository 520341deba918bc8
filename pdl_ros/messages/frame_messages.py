"""All that is said of one camera's frames: made once, for topics and for recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.messages.images import ImageWriter, PngWriter
from pdl_ros.messages.instances import instance_array
from pdl_ros.messages.message_factory import MessageFactory
from pdl_ros.messages.point_cloud import CloudWriter
from pdl_ros.runtime.thread_pool import num_threads, parallel_for
from pdl_ros.tracking import Tracks
from pdl_ros.visualization import overlay

LABELS: Mapping[str, str] = {'semantic': 'mono8', 'instance': '16UC1', 'panoptic': '16UC1'}
"""The label images and their encodings."""


class SegmentedFrame(Protocol):
    """What is needed of the frame itself: its pixels, with the header of their message."""

    @property
    def rgb(self) -> np.ndarray: ...
    @property
    def header(self) -> Any: ...


class FrameMessages:
    """Make the messages of one camera's frames; outputs have the names of the node's.

    Image messages and clouds are filled in place: each is valid until the next one of its output.
    """

    def __init__(
        self,
        factory: MessageFactory,
        label_set: LabelSet,
        panoptic_encoding: str = '16UC1',
        compressed_labels: bool = True,
        organised: bool = False,
    ) -> None:
        self._factory, self._label_set = factory, label_set
        encodings = {**LABELS, 'panoptic': panoptic_encoding}
        self._overlay = ImageWriter(factory, 'rgb8')
        self._cloud = CloudWriter(factory, organised)
        self.writers: dict[str, ImageWriter | PngWriter] = {
            output: ImageWriter(factory, encoding) for output, encoding in encodings.items()
        }
        self.writers['overlay'] = self._overlay
        for output, encoding in LABELS.items() if compressed_labels else ():
            self.writers[f'{output}/compressed'] = PngWriter(factory, encoding)

    def labels(
        self, outputs: list[str], result: PanopticResult, header: Any
    ) -> list[tuple[str, Any]]:
        """Make label images side by side; outputs: `semantic`, `semantic/compressed` and so on."""
        filled: dict[int, Any] = {}

        def fill(item: int, _: int) -> None:
            pixels = getattr(result, outputs[item].partition('/')[0]).numpy()
            filled[item] = self.writers[outputs[item]].fill(pixels, header)

        parallel_for(fill, len(outputs), num_threads())
        return [(output, filled[item]) for item, output in enumerate(outputs)]

    def instances(
        self, result: PanopticResult, header: Any, mask_encoding: str, tracks: Tracks | None
    ) -> Any:
        """Make the list of things and stuff; mask_encoding: `coco_rle`, `bitmap` or `none`."""
        encoding = '' if mask_encoding == 'none' else mask_encoding
        return instance_array(self._factory, result, self._label_set, header, encoding, tracks)

    def overlay(self, frame: SegmentedFrame, result: PanopticResult, alpha: float) -> Any:
        """Draw the overlay at the size of the labels. alpha: of the colours, 0..1."""
        height, width = result.panoptic.shape
        rgb = frame.rgb
        if rgb.shape[:2] != (height, width):
            rgb = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        message, picture = self._overlay.blank(height, width, frame.header)
        overlay(rgb, result.panoptic.numpy(), self._label_set, alpha, picture)
        return message

    def points(self, frame: SegmentedFrame, result: PanopticResult, depth: Any, info: Any) -> Any:
        """Make the labelled points of a depth image with the calibration of its camera."""
        maps = result.semantic.numpy(), result.instance.numpy()
        return self._cloud.fill(depth, info, frame.rgb, *maps, depth.header)


def with_track_ids(result: PanopticResult, tracks: Tracks) -> PanopticResult:
    """Return the result with track ids in place of running ids; the 16-bit images hold 65535."""
    table = result.segments
    ids = table.instance_id.clone()
    ids[table.is_thing] = torch.from_numpy((tracks.track_id.astype(np.int64) - 1) % 65535 + 1).int()
    relabelled = tracks.relabel(result.instance.numpy(), np.uint16).astype(np.int32)
    return result._replace(
        instance=torch.from_numpy(relabelled), segments=table._replace(instance_id=ids)
    )
