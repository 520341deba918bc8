"""The pictures that were segmented, by their stamps: a camera's topic of a bag."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.bags.files import is_bag
from pdl_ros.errors import PdlError, require
from pdl_ros.evaluation.recordings.frames import Numbers

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message
    from pdl_ros.bags.cameras import BagCamera
    from pdl_ros.bags.decoders import Decoder

LoadPicture = Callable[[], np.ndarray | None]


class ImageFrames:
    """The pictures of a topic. stamps: (N,) int64 nanoseconds."""

    def __init__(self, bag: Bag, camera: BagCamera) -> None:
        from pdl_ros.bags.stamped import open_stamped

        self.where, self._type = f'{bag.path}:{camera.topic}', camera.parts[0].type
        (self._topic,) = open_stamped(bag, camera.parts)
        self.stamps = self._topic.stamps

    def load(self, numbers: Numbers) -> Iterator[LoadPicture]:
        """Yield, in order, what decodes each picture to (H, W, 3) uint8 RGB, in any thread; None
        for one of a video whose key frame is missing.
        """
        from pdl_ros.bags.decoders import DECODERS

        decoder = DECODERS[self._type]()
        if decoder.remembers:
            yield from self._play(decoder, self.stamps[np.asarray(numbers, np.int64)])
            return
        for message in self._topic.messages(numbers):
            yield functools.partial(_decode, decoder, message, self.where)

    def _play(self, decoder: Decoder, wanted: np.ndarray) -> Iterator[LoadPicture]:
        """Decode a whole video in its order, and yield the pictures of ascending stamps."""
        pictures = self._pictures(decoder)
        stamp, rgb = next(pictures, (None, None))
        for due in wanted.tolist():
            while stamp is not None and stamp < due:
                stamp, rgb = next(pictures, (None, None))
            found = rgb if stamp == due else None
            yield functools.partial(_same, found)

    def _pictures(self, decoder: Decoder) -> Iterator[tuple[int, np.ndarray]]:
        from pdl_ros.messages.stamps import nanoseconds

        for message in self._topic.messages(range(len(self.stamps))):
            for picture in decoder.decode(message):
                yield nanoseconds(picture.header.stamp), picture.rgb
        for picture in decoder.finish():
            yield nanoseconds(picture.header.stamp), picture.rgb


def open_images(source: str) -> ImageFrames:
    """Open the pictures of ``BAG:/topic`` or, where there is one camera, ``BAG``."""
    from pdl_ros.bags.cameras import find_cameras
    from pdl_ros.bags.reader import open_bag

    place, colon, topic = source.rpartition(':/')
    path = Path(place if colon else source)
    require(is_bag(path), f'{source} is no rosbag; give --images as BAG:/topic.')
    bag = open_bag(path)
    cameras = find_cameras(bag, [f'/{topic}'] if colon else [])
    require(
        len(cameras) == 1,
        f'{path} has {len(cameras)} cameras ({", ".join(c.topic for c in cameras)}); give --images '
        'as BAG:/topic.',
    )
    return ImageFrames(bag, cameras[0])


def find_pictures(places: Sequence[Path]) -> ImageFrames | None:
    """Return the pictures of the first of some places that is a bag with one camera."""
    from pdl_ros.bags.cameras import find_cameras
    from pdl_ros.bags.reader import open_bag

    for place in (path for path in places if is_bag(path)):
        bag = open_bag(place)
        try:
            cameras = find_cameras(bag)
        except PdlError:  # results alone have none
            continue
        if len(cameras) == 1:
            return ImageFrames(bag, cameras[0])
    return None


def _decode(decoder: Decoder, message: Message, where: str) -> np.ndarray:
    try:
        (picture,) = decoder.decode(message)
    except PdlError as error:
        raise PdlError(f'{where}: {error}') from None
    return picture.rgb


def _same(rgb: np.ndarray | None) -> np.ndarray | None:
    return rgb
