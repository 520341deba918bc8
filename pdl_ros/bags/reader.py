"""Camera images out of recordings, without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdl_ros.errors import PdlError, require_package
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb

_SUFFIXES = {'.mcap', '.db3', '.bag'}
_DECODERS: dict[str, Any] = {
    'sensor_msgs/msg/Image': to_rgb,
    'sensor_msgs/msg/CompressedImage': compressed_to_rgb,
}


def is_bag(path: Path) -> bool:
    """Tell whether a path is that of a rosbag: a folder of rosbag2, an mcap, db3 or bag file."""
    return (path / 'metadata.yaml').is_file() or (path.suffix in _SUFFIXES and path.is_file())


@dataclass(frozen=True)
class ImageTopic:
    """The images of one topic of a bag; iterate for (H, W, 3) uint8 RGB, in recorded order.

    rate: images per second, on average.
    """

    path: Path
    topic: str
    count: int
    rate: float

    @classmethod
    def open(cls, path: Path, topic: str = '') -> ImageTopic:
        """Find a topic of images by its name, or the only one. Raises PdlError in one sentence."""
        with _reader(path) as reader:
            counts = {
                name: info.msgcount
                for name, info in reader.topics.items()
                if info.msgtype in _DECODERS
            }
            seconds = reader.duration / 1e9
        known = ', '.join(sorted(counts)) or 'none'
        if topic and topic not in counts:
            raise PdlError(f'{path} has no images on {topic}; its image topics: {known}.')
        if len(counts) != 1 and not topic:
            raise PdlError(
                f'{path} has {len(counts)} image topics ({known}); name one: {path}:/topic.'
                if counts
                else f'{path} has no image topic.'
            )
        name = topic or next(iter(counts))
        rate = (counts[name] - 1) / seconds if counts[name] > 1 and seconds else 10.0
        return cls(path, name, counts[name], rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        with _reader(self.path) as reader:
            wanted = [c for c in reader.connections if c.topic == self.topic]
            for number, (connection, _, raw) in enumerate(reader.messages(wanted), 1):
                try:
                    message = reader.deserialize(raw, connection.msgtype)
                    rgb = _DECODERS[connection.msgtype](message)
                except PdlError as error:
                    raise PdlError(f'{self.path}, {self.topic}, image {number}: {error}') from None
                yield rgb


@contextmanager
def _reader(path: Path) -> Iterator[Any]:
    """Open a bag with rosbags; what the parsers of a damaged one raise becomes one sentence."""
    require_package('rosbags', 'bag')
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    try:
        bag = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        bag.open()
    except Exception as error:
        raise PdlError(f'{path} cannot be read as a rosbag: {_sentence(error)}') from None
    try:
        yield bag
    except (PdlError, MemoryError):
        raise
    except Exception as error:
        raise PdlError(f'{path} is damaged: {_sentence(error)}') from None
    finally:
        bag.close()


def _sentence(error: Exception) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text.rstrip('.') + '.'
