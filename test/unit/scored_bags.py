"""Recordings of what a network said of labelled images, for tests of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pdl_ros.bags.types import message_class, serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.demo.labelled_bag import START, _header, _image, _label_info
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet

IMAGE, NODE = 'sensor_msgs/msg/Image', '/panoptic_node'


def stamps(count: int, fps: float = 15) -> list[int]:
    """The stamps of the frames that `write_labelled_bag` records."""
    return [START + round(n * 1e9 / fps) for n in range(count)]


def write_results(
    folder: Path,
    label_set: LabelSet | None,
    results: Sequence[PanopticResult],
    times: Sequence[int],
    leave_out: Sequence[str] = (),
    tracks: Sequence[dict[int, int]] | None = None,
    panoptic: str = '16UC1',
) -> Path:
    """Record results under the names of the node's topics, at stamps in nanoseconds."""
    types = {'panoptic/image': IMAGE, 'semantic/image': IMAGE}
    types |= {'instances': 'pdl_ros/msg/PanopticInstanceArray'}
    with BagWriter(folder) as bag:
        topics = {
            name: bag.add_topic(f'{NODE}/{name}', kind)
            for name, kind in types.items()
            if name not in leave_out
        }
        if label_set is not None:
            info = bag.add_topic(f'{NODE}/label_info', 'pdl_ros/msg/LabelInfo')
            bag.write(info, START, serialize(_label_info(label_set, START)))
        dtype = {'16UC1': np.uint16, '32SC1': np.int32}[panoptic]
        for number, (result, stamp) in enumerate(zip(results, times, strict=True)):
            messages = {
                'panoptic/image': _image(result.panoptic.numpy().astype(dtype), panoptic, stamp),
                'semantic/image': _image(result.semantic.numpy(), 'mono8', stamp),
                'instances': _instances(result, stamp, tracks[number] if tracks else {}),
            }
            for name, topic in topics.items():
                bag.write(topic, stamp + 50_000_000, serialize(messages[name]))
    return folder


def _instances(result: PanopticResult, stamp: int, tracks: dict[int, int]):
    make = message_class('pdl_ros/msg/PanopticInstance')
    region = message_class('sensor_msgs/msg/RegionOfInterest')
    things = [row for row in result.segments.rows() if row['is_thing']]
    height, width = result.panoptic.shape
    return message_class('pdl_ros/msg/PanopticInstanceArray')(
        header=_header(stamp),
        height=height,
        width=width,
        label_divisor=1000,
        label_set='',
        instances=[
            make(
                id=row['instance_id'],
                panoptic_id=row['id'],
                class_id=row['class_id'],
                class_name='',
                score=row['score'],
                objectness=0.0,
                class_score=0.0,
                area=row['area'],
                box=region(0, 0, 0, 0, False),
                center_x=0.0,
                center_y=0.0,
                mask_encoding='',
                mask_data=np.empty(0, np.uint8),
                track_id=tracks.get(row['id'], 0),
                track_age=0,
            )
            for row in things
        ],
        stuff=[],
    )
