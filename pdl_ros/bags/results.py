"""What a run writes of each image: the node's topics, in serialized messages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pdl_ros.bags.bag_messages import BagMessages, like_ros2
from pdl_ros.bags.frames import BagFrame
from pdl_ros.bags.messages import deserialize
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.result_topics import ResultTopics
from pdl_ros.bags.types import serialize
from pdl_ros.errors import PdlError, in_words, require
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.camera_model import image_size
from pdl_ros.labels import LabelSet
from pdl_ros.messages.frame_messages import LABELS, FrameMessages, with_track_ids
from pdl_ros.messages.instances import frame_timing, label_info
from pdl_ros.messages.stamps import nanoseconds
from pdl_ros.pipeline import StageTimes
from pdl_ros.tracking import Tracker

_MASKS = 'coco_rle'


class Written(NamedTuple):
    """A message for the result: the number of its topic, its log time and its bytes."""

    topic: int
    log_time: int
    data: bytes


class Timing(NamedTuple):
    """What a frame took before its messages were made; milliseconds."""

    decode_ms: float
    stages: StageTimes
    batch_size: int


class ResultMaker:
    """Make the messages of the frames of a plan, in order."""

    def __init__(self, plan: Plan, label_set: LabelSet) -> None:
        self._plan, self._label_set = plan, label_set
        self.topics = ResultTopics(plan)
        self._factory = BagMessages()
        settings = plan.settings
        self._messages = [
            FrameMessages(
                self._factory,
                label_set,
                compressed_labels=settings.labels == 'png',
                organised=settings.points == 'organised',
            )
            for _ in plan.cameras
        ]
        self._trackers = [Tracker() for _ in plan.cameras]
        self._counts = [0] * len(plan.cameras)
        self._lost = [0] * len(plan.cameras)
        self.notes: set[str] = set()

    def begin_part(self) -> None:
        """Begin a file, which says itself what its labels mean."""
        self._counts = [0] * len(self._counts)
        self._lost = [0] * len(self._lost)
        self.notes = set()

    def lost(self, camera: int) -> None:
        """Note a frame that could not be segmented."""
        self._lost[camera] += 1

    def state(self) -> dict[str, np.ndarray]:
        """Return what the next part depends on, as arrays."""
        return {
            f'{number}/{name}': value
            for number, tracker in enumerate(self._trackers)
            for name, value in tracker.state().items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on after the part that a state was taken of."""
        for number, tracker in enumerate(self._trackers):
            prefix = f'{number}/'
            own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
            tracker.restore(own)

    def make(self, frame: BagFrame, result: PanopticResult, timing: Timing) -> list[Written]:
        """Return all that is written of a frame, with its log time.

        What it can be out without (points, camera_info) is left out where it cannot be made; why
        is added to `notes`.
        """
        self._counts[frame.camera] += 1
        written = [*self._inputs(frame), *self._label_infos(frame)]
        for output, message in self._outputs(frame, result, timing):
            number = self.topics.number(frame.camera, output)
            if number is not None:
                written.append(Written(number, frame.log_time, serialize(message)))
        return written

    def _inputs(self, frame: BagFrame) -> Iterator[Written]:
        """Copy, where that is asked for, the image and what was found to belong to it."""
        if not self._plan.settings.copy_inputs:
            return
        camera = self._plan.cameras[frame.camera]
        found = [(camera.parts, lambda: _as_cdr(frame))]
        if frame.info is not None:
            found.append((camera.infos, lambda: serialize(frame.info)))
        if frame.depth is not None:
            found.append((camera.depths, lambda: serialize(frame.depth)))
        for parts, data in found:
            number = self.topics.number(frame.camera, f'input {parts[0].name}')
            if number is not None:
                yield Written(number, frame.log_time, data())

    def _label_infos(self, frame: BagFrame) -> Iterator[Written]:
        """Say with the first frame of a camera in a part what labels mean."""
        owners = [(frame.camera, frame.header.frame_id)] if self._counts[frame.camera] == 1 else []
        if sum(self._counts) == 1:
            owners.append((-1, ''))
        for camera, frame_id in owners:
            number = self.topics.number(camera, 'label_info')
            if number is not None:
                header = self._factory.header(nanoseconds(frame.header.stamp), frame_id)
                message = label_info(self._factory, self._label_set, header)
                yield Written(number, frame.log_time, serialize(message))

    def _outputs(
        self, frame: BagFrame, result: PanopticResult, timing: Timing
    ) -> Iterator[tuple[str, Any]]:
        settings, messages = self._plan.settings, self._messages[frame.camera]
        started, tracks = time.perf_counter(), None
        if settings.tracking:
            stamp = nanoseconds(frame.header.stamp)
            tracks = self._trackers[frame.camera].update(result, stamp)
            result = with_track_ids(result, tracks)
        ending = '/compressed' if settings.labels == 'png' else ''
        yield from messages.labels([f'{name}{ending}' for name in LABELS], result, frame.header)
        yield 'instances', messages.instances(result, frame.header, _MASKS, tracks)
        if settings.overlay:
            yield 'overlay', messages.overlay(frame, result, settings.overlay_alpha)
        yield from self._extras(frame, result)
        if settings.timing:
            made = 1e3 * (time.perf_counter() - started)
            yield 'timing', self._timing(frame, timing, made)

    def _extras(self, frame: BagFrame, result: PanopticResult) -> Iterator[tuple[str, Any]]:
        topic = self._plan.cameras[frame.camera].topic
        self.notes.update(f'{topic}: {why}' for why in frame.no_extras)
        for output, make in (('camera_info', self._camera_info), ('points', self._points)):
            if self.topics.number(frame.camera, output) is None:
                continue
            try:
                message = make(frame, result)
            except PdlError as error:
                self.notes.add(f'{topic}: no {output}: {in_words(error)}')
            else:
                yield output, message

    def _camera_info(self, frame: BagFrame, result: PanopticResult) -> Any:
        require(frame.info is not None, 'no camera_info was recorded about the same time.')
        (height, width), (high, wide) = image_size(frame.info), frame.rgb.shape[:2]
        require(
            (height, width) in ((high, wide), (0, 0)),
            f'the image is {wide}x{high}, but its camera_info is of {width}x{height}.',
        )
        frame.info.header = frame.header
        return frame.info

    def _points(self, frame: BagFrame, result: PanopticResult) -> Any:
        require(frame.info is not None, 'no camera_info was recorded about the same time.')
        require(frame.depth is not None, 'no depth image has its stamp.')
        messages = self._messages[frame.camera]
        return messages.points(frame, result, frame.depth, frame.info)

    def _timing(self, frame: BagFrame, timing: Timing, made_ms: float) -> Any:
        count, lost = self._counts[frame.camera], self._lost[frame.camera]
        return frame_timing(
            self._factory,
            frame.header,
            timing.stages,
            decode_ms=timing.decode_ms,
            batch_size=timing.batch_size,
            publish_ms=made_ms,
            total_ms=timing.decode_ms + sum(timing.stages) + made_ms,
            frames_received=count + lost,
            frames_processed=count,
            frames_dropped=lost,
        )


def _as_cdr(frame: BagFrame) -> bytes:
    """Return the image as it was recorded, as ROS 2 sends it."""
    if frame.message.topic.encoding != 'cdr':
        return serialize(like_ros2(deserialize(frame.message)))
    return frame.message.data
