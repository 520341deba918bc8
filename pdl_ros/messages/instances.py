"""From results to pdl_ros messages."""

from __future__ import annotations

from typing import Any

import numpy as np

from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.masks import bitmap, coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID
from pdl_ros.messages.message_factory import MessageFactory
from pdl_ros.pipeline import StageTimes
from pdl_ros.tracking import Tracks


def instance_array(
    factory: MessageFactory,
    result: PanopticResult,
    label_set: LabelSet,
    header: Any,
    mask_encoding: str,
    tracks: Tracks | None = None,
) -> Any:
    """Return a PanopticInstanceArray: things, highest score first, and stuff of a result on the
    host.

    `tracks` are those of its things, in the order of the segment table.
    """
    height, width = result.panoptic.shape
    message = factory.new(
        'pdl_ros/msg/PanopticInstanceArray',
        header=header,
        height=height,
        width=width,
        label_set=label_set.name,
        label_divisor=label_set.label_divisor,
    )
    rows = result.segments.rows()
    things = [row for row in rows if row['is_thing']]
    if tracks is not None:
        for row, track_id, age in zip(things, tracks.track_id, tracks.age, strict=True):
            row.update(track_id=int(track_id), track_age=int(age))
    masks = _masks(result.instance.numpy(), things, mask_encoding)
    for row, mask in sorted(zip(things, masks, strict=True), key=lambda pair: -pair[0]['score']):
        message.instances.append(_instance(factory, row, label_set, mask_encoding, mask))
    for row in rows:
        if not row['is_thing']:
            message.stuff.append(
                factory.new(
                    'pdl_ros/msg/SegmentInfo',
                    class_id=row['class_id'],
                    class_name=label_set.classes[row['class_id']].name,
                    is_thing=False,
                    area=row['area'],
                    panoptic_id=row['id'],
                )
            )
    return message


def label_info(factory: MessageFactory, label_set: LabelSet, header: Any) -> Any:
    """Return a LabelInfo: what the values of the label images mean."""
    colors = label_set.colors[: label_set.num_classes]
    return factory.new(
        'pdl_ros/msg/LabelInfo',
        header=header,
        label_set=label_set.name,
        class_names=[c.name for c in label_set.classes],
        colors=factory.octets(colors.tobytes()),
        is_thing=[c.is_thing for c in label_set.classes],
        label_divisor=label_set.label_divisor,
        semantic_void=SEMANTIC_VOID,
        instance_void=0,
        panoptic_void=PANOPTIC_VOID,
    )


def frame_timing(factory: MessageFactory, header: Any, stages: StageTimes, **fields: Any) -> Any:
    """Return a FrameTiming of the stages of a frame's batch; `fields`: all the others."""
    return factory.new('pdl_ros/msg/FrameTiming', header=header, **stages._asdict(), **fields)


def _instance(
    factory: MessageFactory, row: dict, label_set: LabelSet, mask_encoding: str, mask: bytes
) -> Any:
    x0, y0, x1, y1 = row['box']
    center_x, center_y = row['center']
    return factory.new(
        'pdl_ros/msg/PanopticInstance',
        id=row['instance_id'],
        panoptic_id=row['id'],
        class_id=row['class_id'],
        class_name=label_set.classes[row['class_id']].name,
        score=row['score'],
        objectness=row['objectness'],
        class_score=row['class_score'],
        area=row['area'],
        box=factory.new(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=x0,
            y_offset=y0,
            width=x1 - x0,
            height=y1 - y0,
        ),
        center_x=center_x,
        center_y=center_y,
        mask_encoding=mask_encoding,
        track_id=row.get('track_id', 0),
        track_age=row.get('track_age', 0),
        mask_data=factory.octets(mask),
    )


def _masks(instance_map: np.ndarray, things: list[dict], encoding: str) -> list[bytes]:
    if encoding == 'coco_rle':
        return coco_masks(instance_map, [row['instance_id'] for row in things])
    if encoding == 'bitmap':
        return [bitmap(instance_map, row['instance_id'], row['box']).tobytes() for row in things]
    return [b''] * len(things)
