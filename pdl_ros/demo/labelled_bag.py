"""Rosbags of labelled images: what a camera saw, and the truth beside it.

Of the drawn street the truth is exact, and its ids last over frames. Of other data, such as a drive
of CamVid, it is what their labels say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from pdl_ros.bags.bag_messages import BagMessages
from pdl_ros.bags.qos import LATCHED
from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter, disk_errors_in_words
from pdl_ros.datasets import PanopticDataset, Sample
from pdl_ros.errors import require
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID
from pdl_ros.messages.images import ImageWriter
from pdl_ros.messages.instances import label_info

IMAGE, TRUTH, LABEL_INFO = '/camera/image', '/truth/panoptic/image', '/truth/label_info'
FRAME_ID = 'camera'
START = 1_700_000_000 * 10**9
"""The stamp of the first frame, in nanoseconds."""
_DELAY = 2_000_000  # nanoseconds from a stamp to the log time, as of a camera's driver


def write_street_bag(
    folder: Path, frames: int, seed: int = 47, size: tuple[int, int] = (384, 640)
) -> Path:
    """Record a drawn street of a (height, width) at 15 Hz; return the folder."""
    from pdl_ros.demo.scene import FPS, Scene

    scene = Scene(seed, *size)
    return write_labelled_bag(folder, map(scene.frame, range(frames)), scene.label_set, FPS)


def write_dataset_bag(
    folder: Path, dataset: PanopticDataset, fps: float, frames: int | None = None
) -> Path:
    """Record the images of a data set, in its order, as if a camera had seen them at a rate."""
    every: Iterator[Sample] = (dataset[index] for index in range(len(dataset)))
    return write_labelled_bag(folder, islice(every, frames), dataset.label_set, fps)


def write_labelled_bag(
    folder: Path, samples: Iterable[Sample], label_set: LabelSet, fps: float
) -> Path:
    """Record samples: `/camera/image` (rgb8), `/truth/panoptic/image` (16UC1), `/truth/label_info`.

    The folder appears when all of them are in it. Raises PdlError where it is there already.
    """
    require(not folder.exists(), f'{folder} is there already; give another folder.')
    with disk_errors_in_words(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own: the files in a recording have the name of the recording.
        place = tempfile.TemporaryDirectory(prefix=f'{folder.name}.', dir=folder.parent)
    with place:
        part = Path(place.name) / folder.name
        _write(part, samples, label_set, fps)
        with disk_errors_in_words(folder):
            part.rename(folder)
    return folder


def _write(folder: Path, samples: Iterable[Sample], label_set: LabelSet, fps: float) -> None:
    factory = BagMessages()
    pictures, maps = ImageWriter(factory, 'rgb8'), ImageWriter(factory, '16UC1')
    with BagWriter(folder) as bag:
        image = bag.add_topic(IMAGE, 'sensor_msgs/msg/Image')
        truth = bag.add_topic(TRUTH, 'sensor_msgs/msg/Image')
        info = bag.add_topic(LABEL_INFO, 'pdl_ros/msg/LabelInfo', LATCHED)
        header = factory.header(START, FRAME_ID)
        bag.write(info, START, serialize(label_info(factory, label_set, header)))
        for number, sample in enumerate(samples):
            stamp = START + round(number * 1e9 / fps)
            header, labels = factory.header(stamp, FRAME_ID), truth_map(sample, label_set)
            bag.write(image, stamp + _DELAY, serialize(pictures.fill(sample.image, header)))
            bag.write(truth, stamp + _DELAY, serialize(maps.fill(labels, header)))


def truth_map(sample: Sample, label_set: LabelSet) -> np.ndarray:
    """Return the labels of a sample as (H, W) uint16 ``class * label_divisor + number``, 65535 =
    void, a thing with number 0 a crowd.

    Numbers that the sample's ids have already are kept, because they may last over frames.
    """
    divisor = label_set.label_divisor
    panoptic = np.full(sample.panoptic.shape, PANOPTIC_VOID, np.uint16)
    taken = {segment.id for segment in sample.segments}
    free = {c: iter(range(1, divisor)) for c in range(label_set.num_classes)}
    for segment in sample.segments:
        class_id, value = segment.class_id, segment.id
        if segment.is_crowd or class_id not in label_set.thing_ids:
            value = class_id * divisor
        elif value // divisor != class_id or value % divisor == 0:
            value = next(v for n in free[class_id] if (v := class_id * divisor + n) not in taken)
        panoptic[sample.panoptic == segment.id] = value
    return panoptic
