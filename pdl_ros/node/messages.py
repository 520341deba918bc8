"""From results to pdl_ros messages."""

from __future__ import annotations

from array import array

import numpy as np
from pycocotools import mask as coco_mask
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID
from pdl_ros.msg import LabelInfo, PanopticInstance, PanopticInstanceArray, SegmentInfo
from pdl_ros.tracking import Tracks


def instance_array(
    result: PanopticResult,
    label_set: LabelSet,
    header: Header,
    mask_encoding: str,
    tracks: Tracks | None = None,
) -> PanopticInstanceArray:
    """List things, highest score first, and stuff of a result on the host.

    `tracks` are those of its things, in the order of the segment table.
    """
    height, width = result.panoptic.shape
    message = PanopticInstanceArray(
        header=header,
        height=height,
        width=width,
        label_set=label_set.name,
        label_divisor=label_set.label_divisor,
    )
    rows = result.segments.rows()
    instance_map = result.instance.numpy()
    things = [row for row in rows if row['is_thing']]
    if tracks is not None:
        for row, track_id, age in zip(things, tracks.track_id, tracks.age, strict=True):
            row.update(track_id=int(track_id), track_age=int(age))
    for row in sorted(things, key=lambda r: -r['score']):
        message.instances.append(_instance(row, label_set, instance_map, mask_encoding))
    for row in rows:
        if not row['is_thing']:
            message.stuff.append(
                SegmentInfo(
                    class_id=row['class_id'],
                    class_name=label_set.classes[row['class_id']].name,
                    is_thing=False,
                    area=row['area'],
                    panoptic_id=row['id'],
                )
            )
    return message


def label_info(label_set: LabelSet, header: Header) -> LabelInfo:
    """Say what the values of the label images mean."""
    colors = label_set.colors[: label_set.num_classes]
    return LabelInfo(
        header=header,
        label_set=label_set.name,
        class_names=[c.name for c in label_set.classes],
        colors=array('B', colors.tobytes()),
        is_thing=[c.is_thing for c in label_set.classes],
        label_divisor=label_set.label_divisor,
        semantic_void=SEMANTIC_VOID,
        instance_void=0,
        panoptic_void=PANOPTIC_VOID,
    )


def _instance(
    row: dict, label_set: LabelSet, instance_map: np.ndarray, mask_encoding: str
) -> PanopticInstance:
    x0, y0, x1, y1 = row['box']
    center_x, center_y = row['center']
    return PanopticInstance(
        id=row['instance_id'],
        panoptic_id=row['id'],
        class_id=row['class_id'],
        class_name=label_set.classes[row['class_id']].name,
        score=row['score'],
        objectness=row['objectness'],
        class_score=row['class_score'],
        area=row['area'],
        box=RegionOfInterest(x_offset=x0, y_offset=y0, width=x1 - x0, height=y1 - y0),
        center_x=center_x,
        center_y=center_y,
        mask_encoding=mask_encoding,
        track_id=row.get('track_id', 0),
        track_age=row.get('track_age', 0),
        mask_data=_mask(instance_map, row['instance_id'], (x0, y0, x1, y1), mask_encoding),
    )


def _mask(
    instance_map: np.ndarray, instance_id: int, box: tuple[int, int, int, int], encoding: str
) -> array:
    if encoding == 'coco_rle':
        counts = coco_mask.encode(np.asfortranarray(instance_map == instance_id, dtype=np.uint8))[
            'counts'
        ]
        return array('B', counts)
    if encoding == 'bitmap':
        x0, y0, x1, y1 = box
        return array('B', (instance_map[y0:y1, x0:x1] == instance_id).tobytes())
    return array('B')
