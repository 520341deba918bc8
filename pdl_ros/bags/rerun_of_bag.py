"""A recording and its results as a file for Rerun's viewer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdl_ros.bags.cameras import BagCamera, find_cameras
from pdl_ros.bags.label_topics import LabelTopics, decode_labels
from pdl_ros.bags.messages import deserialize
from pdl_ros.bags.reader import ImageTopic, open_bag
from pdl_ros.bags.run_settings import NODE
from pdl_ros.bags.stamped import StampedTopic, open_stamped
from pdl_ros.errors import PdlError
from pdl_ros.messages.point_cloud import POINT
from pdl_ros.messages.stamps import nanoseconds
from pdl_ros.rerun_recording import RerunRecording, boxes_of, timing_of

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message

_LABELS = ('panoptic/image/compressed', 'panoptic/image')


def write_rerun(
    images: Path,
    results: Path,
    path: Path,
    topics: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the images of a recording that have results, with all of these; return how many.

    topics: which cameras, as `find_cameras` takes them. Raises PdlError where there is nothing.
    """
    source, found = open_bag(images), open_bag(results)
    cameras = find_cameras(source, topics)
    labels = [LabelTopics.open(found, _label_topic(found, camera)) for camera in cameras]
    label_set = labels[0].label_set
    if label_set is None:
        raise PdlError(f'{results} does not say what its labels mean: it has no label_info.')
    opened = [ImageTopic.of(source, camera.topic) for camera in cameras]
    total, done, shown = sum(topic.count for topic in opened), 0, 0
    names = [camera.name for camera in cameras]
    has_points = any(_topic(found, f'{_prefix(camera)}/points') for camera in cameras)
    with RerunRecording(path, label_set, names, has_points) as recording:
        for camera, topic, label in zip(cameras, opened, labels, strict=True):
            with _Results(found, camera, label) as about:
                for picture in topic.pictures(_without_a_word):
                    done += 1
                    progress(done, total)
                    stamp = nanoseconds(picture.header.stamp)
                    shown += about.log(recording, stamp, picture.rgb)
    return shown


def _without_a_word(sentence: str) -> None:
    """Pass over an image that is damaged: the run said so when it did not segment it."""


class _Results:
    """What a result has of one camera, by stamp."""

    def __init__(self, bag: Bag, camera: BagCamera, labels: LabelTopics) -> None:
        self._camera = camera.name
        self._stack = contextlib.ExitStack()
        prefix = _prefix(camera)
        self._panoptic = self._reader(labels.panoptic)
        self._instances = self._reader(labels.instances)
        self._timing = self._reader(_topic(bag, f'{prefix}/timing'))
        self._points = self._reader(_topic(bag, f'{prefix}/points'))

    def __enter__(self) -> _Results:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def log(self, recording: RerunRecording, stamp: int, rgb: np.ndarray) -> bool:
        """Show an image with its results; False where it has none."""
        labels = self._panoptic(stamp)
        if labels is None:
            return False
        instances, timing = self._instances(stamp), self._timing(stamp)
        recording.log(
            stamp,
            rgb,
            decode_labels(labels),
            boxes_of(deserialize(instances)) if instances else (),
            timing_of(deserialize(timing)) if timing else None,
            self._camera,
        )
        if points := self._points(stamp):
            cloud = _finite(np.frombuffer(deserialize(points).data, POINT))
            positions = np.stack([cloud['x'], cloud['y'], cloud['z']], -1)
            recording.log_points(stamp, positions, cloud['class_id'], camera=self._camera)
        return True

    def _reader(self, topic: StampedTopic | None) -> Callable[[int], Message | None]:
        """Return what reads the message of a stamp, None where there is none."""
        if topic is None:
            return lambda _: None
        place_of = dict(zip(topic.stamps.tolist(), topic.places.tolist(), strict=True))
        opened: Any = self._stack.enter_context(topic.selection.open())
        return lambda stamp: opened.read(place_of[stamp]) if stamp in place_of else None


def _finite(cloud: np.ndarray) -> np.ndarray:
    """Leave out the points of an organised cloud that have no depth."""
    return cloud[np.isfinite(cloud['z'])]


def _prefix(camera: BagCamera) -> str:
    return f'{NODE}/{camera.name}' if camera.name else NODE


def _label_topic(bag: Bag, camera: BagCamera) -> str:
    """Return the label images of a camera."""
    there = {topic.name for topic in bag.topics if topic.count}
    for name in (f'{_prefix(camera)}/{label}' for label in _LABELS):
        if name in there:
            return name
    raise PdlError(f'{bag.path} has no label images of {camera.topic}.')


def _topic(bag: Bag, name: str) -> StampedTopic | None:
    parts = [topic for topic in bag.topics if topic.name == name and topic.count]
    return open_stamped(bag, parts)[0] if parts else None
