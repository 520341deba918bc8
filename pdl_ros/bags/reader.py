"""Camera images out of recordings, without ROS."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.bags.cameras import is_result
from pdl_ros.bags.decoders import DECODERS, Decoder, Picture, has_pictures
from pdl_ros.bags.files import is_bag
from pdl_ros.errors import PdlError, os_error_reason, printable, require_bag_packages

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message, OpenSelection
    from pdl_ros.bags.storage import Topic

__all__ = ['ImageTopic', 'is_bag', 'open_bag']

_LOG = logging.getLogger('pdl_ros.bags')
_RATE, _MAX_RATE = 10.0, 1000.0
_CUT = '{} is damaged: it was cut off before the first image.'


@dataclass(frozen=True)
class ImageTopic:
    """The images of one topic of a bag; iterate for (H, W, 3) uint8 RGB, in recorded order.

    rate: images per second, by the median of the intervals between them.
    """

    bag: Bag
    parts: list[Topic]
    count: int
    rate: float

    @property
    def topic(self) -> str:
        return self.parts[0].name

    @classmethod
    def open(cls, path: Path, topic: str = '') -> ImageTopic:
        """Find a topic of images by its name, or the only one. Raises PdlError in one sentence."""
        return cls.of(open_bag(path), topic)

    @classmethod
    def of(cls, bag: Bag, topic: str = '') -> ImageTopic:
        """Find a topic of images as `open` does, in a recording that is open already."""
        parts = _find(bag, topic)
        DECODERS[parts[0].type]()  # names the package that it lacks, before any work
        times = bag.times(parts)
        return cls(bag, parts, len(times), _typical_rate(times))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (picture.rgb for picture in self.pictures())

    def pictures(self, lost: Callable[[str], None] | None = None) -> Iterator[Picture]:
        """Yield every image with its header and its log time.

        lost: is told of each image that cannot be had, in a sentence, and the others follow. Raises
        PdlError at the first such one without; and where there is no other.
        """
        decoder, count, why = DECODERS[self.parts[0].type](), 0, ''
        selection = self.bag.select(self.parts)
        with selection.open() as opened:
            for position in range(len(selection.times)):
                message = _read(opened, position, lost)
                if message is None:
                    continue
                try:
                    pictures = decoder.decode(message)
                except PdlError as error:
                    sentence = f'{self.bag.path}, {self.topic}, image {position + 1}: {error}'
                    if lost is None:
                        raise PdlError(sentence) from None
                    lost(sentence)
                    pictures, why = (), why or f'; the first: {str(error).rstrip(".")}'
                count += len(pictures)
                self._tell(decoder, lost)
                yield from pictures
        pictures = decoder.finish()
        self._tell(decoder, lost)
        yield from pictures
        if not count and not pictures:
            raise PdlError(f'{self.bag.path}: no image of {self.topic} can be decoded{why}.')

    def _tell(self, decoder: Decoder, lost: Callable[[str], None] | None) -> None:
        for incident in decoder.incidents():
            sentence = f'{self.bag.path}, {self.topic}: {incident.sentence}'
            if lost is None or not incident.lost:
                _LOG.warning('%s', sentence)
            else:
                for _ in range(incident.lost):
                    lost(sentence)


def _read(
    opened: OpenSelection, position: int, lost: Callable[[str], None] | None
) -> Message | None:
    """Return a message; None where it is damaged, and that was told."""
    try:
        return opened.read(position)
    except PdlError as error:
        if lost is None:
            raise
        lost(str(error))
        return None


def open_bag(path: Path) -> Bag:
    """Open a recording. Raises PdlError in one sentence where it cannot be read at all."""
    require_bag_packages()
    from pdl_ros.bags.bag import Bag

    if not path.exists():
        raise PdlError(
            f'{path} is not there; give a recording: a .mcap, .db3 or .bag, or a folder.'
        )
    try:
        return Bag(path)
    except OSError as error:
        reason = os_error_reason(error)
        raise PdlError(f'{path} cannot be read as a rosbag: {reason}.') from None


def _typical_rate(times: np.ndarray) -> float:
    """Return images per second; 10 where the times do not say."""
    intervals = np.diff(times.astype(float))
    typical = float(np.median(intervals)) if len(intervals) else 0.0
    rate = 1e9 / typical if typical > 0 else 0.0
    return rate if 0 < rate <= _MAX_RATE else _RATE


def _find(bag: Bag, name: str) -> list[Topic]:
    """Return the images that are wanted, as they were recorded: in one or several encodings."""
    images: dict[str, list[Topic]] = {}
    for topic in bag.topics:
        if has_pictures(topic):
            images.setdefault(topic.name, []).append(topic)
    cameras = {topic: parts for topic, parts in images.items() if not is_result(topic)}
    name = _choose(bag, images if name else cameras or images, name)
    parts = [part for part in images[name] if part.count]
    if not parts:
        raise PdlError(
            f'{bag.path} has no messages on {name}; was the camera running?'
            if bag.is_whole
            else _CUT.format(bag.path)
        )
    types = sorted({part.type for part in parts})
    if len(types) > 1:
        raise PdlError(
            f'{bag.path} has two types on {name} ({" and ".join(types)}); record them as topics of '
            'their own.'
        )
    return parts


def _choose(bag: Bag, images: dict[str, list[Topic]], name: str) -> str:
    """Return the name of the topic that is meant: the only one, or the only one with messages."""
    known = printable(', '.join(images)[:300]) or 'none'
    if name:
        for topic in images:  # tools other than ROS record names without a slash before them
            if topic.strip('/') == name.strip('/'):
                return topic
        others = ' and '.join(topic.contents for topic in bag.topics if topic.name == name)
        which = f'{name}, which has {others}' if others else name
        raise PdlError(f'{bag.path} has no images on {which}; its image topics: {known}.')
    if not images:
        raise PdlError(_no_images(bag) if bag.is_whole else _CUT.format(bag.path))
    filled = [topic for topic, parts in images.items() if any(part.count for part in parts)]
    if len(images) > 1 and len(filled) != 1:
        raise PdlError(
            f'{bag.path} has {len(images)} image topics ({known}); name one: {bag.path}:/topic.'
        )
    return (filled or list(images))[0]


def _no_images(bag: Bag) -> str:
    topics = ', '.join(f'{topic.name} ({topic.contents})' for topic in bag.topics)
    sentence = f'{bag.path} has no image topic; its topics: {printable(topics[:300]) or "none"}'
    if bag.is_ros1:
        sentence += (
            '; it is a recording of ROS 1: convert the .bag that it was made from with '
            'rosbags-convert --src FILE.bag --dst FOLDER'
        )
    return f'{sentence}.'
