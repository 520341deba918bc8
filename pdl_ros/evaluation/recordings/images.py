"""The pictures that were segmented, by their stamps: a topic of images of a bag."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.bags.files import is_bag
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.evaluation.recordings.frames import Numbers

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message
    from pdl_ros.bags.stamped import StampedTopic


class ImageFrames:
    """The pictures of a topic. stamps: (N,) int64 nanoseconds."""

    def __init__(self, topic: StampedTopic) -> None:
        self.where = f'{topic.bag.path}:{topic.name}'
        self._topic, self.stamps = topic, topic.stamps

    def load(self, numbers: Numbers) -> Iterator[Callable[[], np.ndarray]]:
        """Yield, in order, what decodes each picture to (H, W, 3) uint8 RGB, in any thread."""
        for message in self._topic.messages(numbers):
            yield functools.partial(_decode, message, self.where)


def open_images(source: str) -> ImageFrames:
    """Open the pictures of ``BAG:/topic`` or, where that is clear, ``BAG``."""
    from pdl_ros.bags.reader import open_bag

    place, colon, topic = source.rpartition(':/')
    path = Path(place if colon else source)
    require(is_bag(path), f'{source} is no rosbag; give --images as BAG:/topic.')
    bag = open_bag(path)
    found = find_images(bag, f'/{topic}' if colon else '')
    if found is None:
        raise PdlError(f'{path} has no topic of pictures, or several: give --images as BAG:/topic.')
    return found


def find_images(bag: Bag, topic: str = '') -> ImageFrames | None:
    """Return the pictures of a topic, or of the only one that is no result of the node."""
    from pdl_ros.bags.results import picture_topics
    from pdl_ros.bags.stamped import StampedTopic

    topics = picture_topics(bag)
    if topic:
        topics = [parts for parts in topics if parts[0].name.strip('/') == topic.strip('/')]
        require(bool(topics), f'{bag.path} has no pictures on {printable(topic)}.')
    return ImageFrames(StampedTopic.open(bag, topics[0])) if len(topics) == 1 else None


def find_pictures(places: Sequence[Path]) -> ImageFrames | None:
    """Return the pictures of the first of some places that is a bag with one topic of them."""
    from pdl_ros.bags.reader import open_bag

    for place in places:
        if is_bag(place) and (found := find_images(open_bag(place))) is not None:
            return found
    return None


def _decode(message: Message, where: str) -> np.ndarray:
    from pdl_ros.bags.reader import decode_image

    try:
        return decode_image(message)
    except PdlError as error:
        raise PdlError(f'{where}: {error}') from None
