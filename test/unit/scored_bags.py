"""Recordings of what a network said of labelled images, for tests of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pdl_ros.bags.bag_messages import BagMessages
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.demo.labelled_bag import START
from pdl_ros.fusion import PanopticResult
from pdl_ros.labels import LabelSet
from pdl_ros.messages.images import ImageWriter, PngWriter
from pdl_ros.messages.instances import instance_array, label_info
from pdl_ros.tracking import Tracks

NODE = '/panoptic_node'
_IMAGE, _PACKED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'


def stamps(count: int, fps: float = 15) -> list[int]:
    """The stamps of the frames that `write_labelled_bag` records."""
    return [START + round(n * 1e9 / fps) for n in range(count)]


def write_results(
    folder: Path,
    label_set: LabelSet,
    results: Sequence[PanopticResult],
    times: Sequence[int],
    leave_out: Sequence[str] = (),
    tracks: Sequence[Tracks] | None = None,
    panoptic: str = '16UC1',
    node: str = NODE,
    times_of_log: Sequence[int] | None = None,
) -> Path:
    """Record results under the names of the node's topics, at stamps in nanoseconds.

    leave_out: of the topics. panoptic: an encoding, or `png`.
    """
    packed = panoptic == 'png'
    name = 'panoptic/image/compressed' if packed else 'panoptic/image'
    types = {name: _PACKED if packed else _IMAGE, 'semantic/image': _IMAGE}
    types |= {'instances': 'pdl_ros/msg/PanopticInstanceArray'}
    make = BagMessages()
    maps = PngWriter(make, '16UC1') if packed else ImageWriter(make, panoptic)
    semantic = ImageWriter(make, 'mono8')
    with BagWriter(folder) as bag:
        topics = {
            name: bag.add_topic(f'{node}/{name}', kind)
            for name, kind in types.items()
            if name not in leave_out
        }
        if 'label_info' not in leave_out:
            info = bag.add_topic(f'{node}/label_info', 'pdl_ros/msg/LabelInfo')
            bag.write(info, START, serialize(label_info(make, label_set, make.header(START, ''))))
        for number, (result, stamp) in enumerate(zip(results, times, strict=True)):
            header = make.header(stamp, 'camera')
            tracked = tracks[number] if tracks else None
            messages = {
                name: maps.fill(result.panoptic.numpy(), header),
                'semantic/image': semantic.fill(result.semantic.numpy(), header),
                'instances': instance_array(make, result, label_set, header, '', tracked),
            }
            for topic, identity in topics.items():
                logged = times_of_log[number] if times_of_log else stamp
                bag.write(identity, logged + 50_000_000, serialize(messages[topic]))
    return folder
