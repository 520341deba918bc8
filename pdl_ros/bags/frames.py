"""The images of a plan, read and decoded in order, with all that belongs to them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdl_ros.bags.bag import Message, OpenSelection
from pdl_ros.bags.cameras import BagCamera
from pdl_ros.bags.companions import Companions, DepthCompanions
from pdl_ros.bags.decoders import DECODERS, Decoder, Picture
from pdl_ros.bags.plan import Plan
from pdl_ros.errors import PdlError, printable
from pdl_ros.messages.stamps import nanoseconds


@dataclass(frozen=True)
class BagFrame:
    """A decoded image with all that belongs to it.

    rgb: (H, W, 3) uint8. header: a std_msgs/Header. message: the image as it was recorded. info,
    depth: its sensor_msgs/CameraInfo and depth Image, None where there is none. no_extras: why
    something beside the image cannot be had, in sentences. decode_ms: what reading and decoding
    took.
    """

    part: int
    camera: int
    rgb: np.ndarray
    header: Any
    log_time: int
    message: Message
    decode_ms: float
    info: Any = None
    depth: Any = None
    no_extras: tuple[str, ...] = ()


@dataclass(frozen=True)
class LostFrame:
    """An image that could not be read, or segmented, and why."""

    part: int
    camera: int
    sentence: str


@dataclass(frozen=True)
class PartEnd:
    """Follows the last image of a part."""

    part: int


def read_frames(plan: Plan, parts: Sequence[int]) -> Iterator[BagFrame | LostFrame | PartEnd]:
    """Yield the images of parts in order, and where each part ends.

    Files are opened and closed by whoever iterates: those of SQLite are used by one thread only. A
    decoder that needs what came before begins at the last image before the part that it can
    begin with, so that each part is the same whether or not the one before was read here.
    """
    with _FrameReader(plan) as reader:
        yield from reader.frames(parts)


class _FrameReader:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._opened: OpenSelection = plan.images.open()
        self._infos = [
            Companions(plan.bag, camera.infos) if camera.infos else None for camera in plan.cameras
        ]
        wanted = plan.settings.points != 'none'
        self._depths = [
            DepthCompanions(plan.bag, camera.depths, camera.parts)
            if wanted and camera.depths
            else None
            for camera in plan.cameras
        ]

    def __enter__(self) -> _FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.__exit__()
        for companions in (*self._infos, *self._depths):
            if companions is not None:
                companions.close()

    def frames(self, parts: Sequence[int]) -> Iterator[BagFrame | LostFrame | PartEnd]:
        plan, before = self._plan, -1
        for part in parts:
            if before < 0 or part != before + 1:
                decoders = self._decoders(plan.parts[part].start)
            before = part
            for place in plan.parts[part]:
                yield from self._at(part, place, decoders[plan.owners[place]])
            if part == len(plan.parts) - 1:
                for camera, decoder in enumerate(decoders):
                    yield from self._last(part, camera, decoder)
            yield PartEnd(part)

    def _decoders(self, start: int) -> list[Decoder]:
        """Return a decoder for each camera, ready for its first image from a place on."""
        plan, decoders = self._plan, list[Decoder]()
        for number, camera in enumerate(plan.cameras):
            decoder = DECODERS[camera.parts[0].type]()
            decoders.append(decoder)
            places = np.flatnonzero(plan.owners[start:] == number)
            if decoder.remembers and len(places):
                self._warm_up(decoder, camera, int(plan.positions[start + places[0]]))
        return decoders

    def _warm_up(self, decoder: Decoder, camera: BagCamera, position: int) -> None:
        """Decode what comes between the last beginning before a position and that position."""
        images, earlier = self._plan.images, list[Message]()
        for place in range(position - 1, -1, -1):
            if images.topic(place) not in camera.parts:
                continue
            try:
                earlier.append(self._opened.read(place))
            except PdlError:
                break
            if decoder.starts_at(earlier[-1]):
                break
        for message in reversed(earlier):
            try:
                decoder.decode(message)
            except PdlError:
                continue  # it was told in its own part

    def _at(self, part: int, place: int, decoder: Decoder) -> Iterator[BagFrame | LostFrame]:
        plan, started = self._plan, time.perf_counter()
        camera = int(plan.owners[place])
        try:
            message = self._opened.read(int(plan.positions[place]))
            pictures = decoder.decode(message)
        except PdlError as error:
            if plan.kept[place]:
                number = int(np.count_nonzero(plan.owners[: place + 1] == camera))
                topic = printable(plan.cameras[camera].topic)
                yield LostFrame(part, camera, f'{topic}, image {number}: {error}')
            return
        if plan.kept[place]:
            for picture in pictures:
                yield self._frame(part, camera, picture, message, started)

    def _last(self, part: int, camera: int, decoder: Decoder) -> Iterator[BagFrame]:
        places = np.flatnonzero((self._plan.owners == camera) & self._plan.kept)
        for picture in decoder.finish() if len(places) else ():
            message = self._opened.read(int(self._plan.positions[places[-1]]))
            yield self._frame(part, camera, picture, message, time.perf_counter())

    def _frame(
        self, part: int, camera: int, picture: Picture, message: Message, started: float
    ) -> BagFrame:
        beside: dict[str, Any] = defaultdict(lambda: None)
        wrong: list[str] = []
        for name, companions in (('info', self._infos[camera]), ('depth', self._depths[camera])):
            if companions is None:
                continue
            try:
                found = companions.nearest(nanoseconds(picture.header.stamp), picture.log_time)
                beside[name] = found and found[1]
            except PdlError as error:
                wrong.append(str(error))
        milliseconds = 1e3 * (time.perf_counter() - started)
        return BagFrame(
            part,
            camera,
            picture.rgb,
            picture.header,
            picture.log_time,
            message,
            milliseconds,
            beside['info'],
            beside['depth'],
            tuple(wrong),
        )
