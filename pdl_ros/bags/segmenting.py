"""Images through the network and into messages: every stage in a thread of its own, in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdl_ros.bags.frames import BagFrame, LostFrame, PartEnd, read_frames
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.results import ResultMaker, Timing, Written
from pdl_ros.errors import PdlError, in_words, printable
from pdl_ros.pipeline import Segmented, Segmenter
from pdl_ros.runtime.background import ahead

_AHEAD = 2  # batches, or frames, that a stage is ahead of the next


@dataclass(frozen=True)
class MadeFrame:
    """All messages of one frame."""

    part: int
    camera: int
    stamp_of_header: tuple[int, int]
    written: list[Written]


@dataclass(frozen=True)
class MadePart:
    """Follows the last frame of a part: what the next one depends on."""

    part: int
    state: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Batch:
    """Frames that the network takes together, or what is none and keeps its place."""

    frames: list[BagFrame]
    other: LostFrame | PartEnd | None = None


@dataclass(frozen=True)
class _Started:
    batch: _Batch
    finish: Callable[[], Segmented]


def segmented(
    plan: Plan, segmenter: Segmenter, maker: ResultMaker, parts: Sequence[int]
) -> Generator[MadeFrame | LostFrame | MadePart, None, None]:
    """Yield what is to be written of parts, in order.

    Reading and decoding, the network and the fusion, and the making of messages go on at the same
    time as whoever takes these writes them. Which frames are a batch follows from the recording
    alone, so that the result does too.
    """
    size = plan.settings.batch or 1
    frames = ahead(read_frames(plan, parts), _AHEAD * size, 'bag reader')
    started = ahead(_start(segmenter, _batches(segmenter, frames, size)), 1, 'segmenter')
    yield from ahead(_make(maker, plan, started), _AHEAD, 'message maker')


def _batches(
    segmenter: Segmenter, frames: Iterable[BagFrame | LostFrame | PartEnd], size: int
) -> Iterator[_Batch]:
    batch: list[BagFrame] = []
    for frame in frames:
        key = isinstance(frame, BagFrame) and segmenter.batch_key(*frame.rgb.shape[:2])
        if batch and (not key or key != segmenter.batch_key(*batch[0].rgb.shape[:2])):
            yield _Batch(batch)
            batch = []
        if isinstance(frame, BagFrame):
            batch.append(frame)
            if len(batch) == size:
                yield _Batch(batch)
                batch = []
        else:
            yield _Batch([], frame)


def _start(segmenter: Segmenter, batches: Iterable[_Batch]) -> Iterator[_Started | _Batch]:
    """Begin each batch; one that is too much for the device is begun frame by frame."""
    for batch in batches:
        if batch.other is not None:
            yield batch
            continue
        try:
            yield _Started(batch, segmenter.start([frame.rgb for frame in batch.frames]))
            continue
        except Exception as error:
            if not _is_of_the_frame(error):
                raise
            reason = in_words(error)
        segmenter.recover()
        for frame in batch.frames if len(batch.frames) > 1 else ():
            yield from _start(segmenter, [_Batch([frame])])
        if len(batch.frames) == 1:
            (frame,) = batch.frames
            stamp = frame.header.stamp
            where = f'{frame.message.topic.name}, stamp {stamp.sec}.{stamp.nanosec:09}'
            yield _Batch([], LostFrame(frame.part, frame.camera, f'{printable(where)}: {reason}'))


def _make(
    maker: ResultMaker, plan: Plan, started: Iterable[_Started | _Batch]
) -> Iterator[MadeFrame | LostFrame | MadePart]:
    for item in started:
        if isinstance(item, _Started):
            results, stages = item.finish()
            frames = item.batch.frames
            for frame, result in zip(frames, results, strict=True):
                timing = Timing(frame.decode_ms, stages, len(frames))
                stamp = frame.header.stamp
                written = maker.make(frame, result, timing)
                yield MadeFrame(frame.part, frame.camera, (stamp.sec, stamp.nanosec), written)
        elif isinstance(item.other, LostFrame):
            maker.lost(item.other.camera)
            yield item.other
        elif item.other is not None:
            yield MadePart(item.other.part, maker.state(), tuple(sorted(maker.notes)))
            maker.begin_part()


def _is_of_the_frame(error: Exception) -> bool:
    """Tell whether other frames may do better: what was asked of the device was too much."""
    said = str(error).lower()
    return isinstance(error, PdlError | MemoryError) or 'out of memory' in said
