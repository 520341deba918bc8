"""From messages to pictures: one decoder a topic, which may remember what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pdl_ros.bags.bag_messages import like_ros2
from pdl_ros.bags.messages import deserialize, is_readable
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Message
    from pdl_ros.bags.storage import Topic


class Picture(NamedTuple):
    """A picture out of a recording: (H, W, 3) uint8 RGB, which may lie in its message and is not
    written to; its std_msgs/Header of ROS 2; and the log time of its message, nanoseconds.
    """

    rgb: np.ndarray
    header: Any
    log_time: int


class Decoder(Protocol):
    """Decode the messages of one topic, in their order."""

    remembers: bool
    """Whether a picture needs those before it: then no message is left out, and decoding begins
    where `starts_at` says that it can.
    """

    def starts_at(self, message: Message) -> bool:
        """Tell whether decoding can begin with a message."""

    def decode(self, message: Message) -> Sequence[Picture]:
        """Return the pictures that are complete with a message, often one, or none yet.

        Raises PdlError for a message that cannot be decoded; the next one may be.
        """

    def finish(self) -> Sequence[Picture]:
        """Return the pictures that were held back, after the last message."""


class PictureDecoder:
    """Decode messages that are a picture each."""

    remembers = False

    def __init__(self, to_pixels: Callable[[Any], np.ndarray]) -> None:
        self._to_pixels = to_pixels

    def starts_at(self, message: Message) -> bool:
        return True

    def decode(self, message: Message) -> Sequence[Picture]:
        read = deserialize(message)
        header = like_ros2(read.header) if message.topic.encoding == 'ros1' else read.header
        return [Picture(self._to_pixels(read), header, message.log_time)]

    def finish(self) -> Sequence[Picture]:
        return []


DECODERS: dict[str, Callable[[], Decoder]] = {
    'sensor_msgs/msg/Image': lambda: PictureDecoder(to_rgb),
    'sensor_msgs/msg/CompressedImage': lambda: PictureDecoder(compressed_to_rgb),
}
"""What makes the decoder of a topic, by the type of its messages."""


def has_pictures(topic: Topic) -> bool:
    """Tell whether the messages of a topic can be decoded."""
    return topic.type in DECODERS and is_readable(topic)
