"""From messages to pictures: one decoder a topic, which may remember what came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pdl_ros.bags import protobuf_video
from pdl_ros.bags.bag_messages import BagMessages, like_ros2
from pdl_ros.bags.messages import deserialize, is_readable
from pdl_ros.bags.video import VIDEO_TYPES, Start, VideoDecoder
from pdl_ros.errors import PdlError
from pdl_ros.imaging.compressed import compressed_to_rgb
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.messages.stamps import nanoseconds

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Message
    from pdl_ros.bags.storage import Topic


class Picture(NamedTuple):
    """A picture out of a recording: (H, W, 3) uint8 RGB, which may lie in its message and is not
    written to; its std_msgs/Header of ROS 2; and its message.
    """

    rgb: np.ndarray
    header: Any
    message: Message


class Incident(NamedTuple):
    """What is to be known of a topic, in a sentence, and how many pictures were lost by it."""

    sentence: str
    lost: int


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

    def incidents(self) -> Sequence[Incident]:
        """Return what happened since this was asked last, apart from what was raised."""

    def forget(self) -> None:
        """Tell no incident of the messages until now: it was told where they were decoded first."""


class PictureDecoder:
    """Decode messages that are a picture each."""

    remembers = False

    def __init__(self, to_pixels: Callable[[Any], np.ndarray]) -> None:
        self._to_pixels = to_pixels

    def starts_at(self, message: Message) -> bool:
        return True

    def decode(self, message: Message) -> Sequence[Picture]:
        read = deserialize(message)
        return [Picture(self._to_pixels(read), _header(read, message), message)]

    def finish(self) -> Sequence[Picture]:
        return []

    def incidents(self) -> Sequence[Incident]:
        return []

    def forget(self) -> None:
        pass


class PacketDecoder:
    """Decode messages that are a packet of a video each."""

    remembers = True

    def __init__(self) -> None:
        self._decoder: VideoDecoder[tuple[Any, Message]] = VideoDecoder()
        self._open_starts = 0

    def starts_at(self, message: Message) -> bool:
        """Tell whether decoding can begin with a packet, asked from a place backwards.

        After a key frame of an open group come pictures that need the group before: of such the
        second one is the beginning.
        """
        try:
            start = self._decoder.start_of(deserialize(message))
        except PdlError:
            return True
        self._open_starts += start == Start.OPEN
        return start == Start.CLOSED or self._open_starts > 1

    def decode(self, message: Message) -> Sequence[Picture]:
        read = deserialize(message)
        done = self._decoder.decode(read, (_header(read, message), message))
        return [Picture(rgb, header, of) for (header, of), rgb in done]

    def finish(self) -> Sequence[Picture]:
        return [Picture(rgb, header, of) for (header, of), rgb in self._decoder.flush()]

    def incidents(self) -> Sequence[Incident]:
        told, self._decoder.told = self._decoder.told, []
        return [Incident(sentence, lost) for sentence, lost in told]

    def forget(self) -> None:
        self._decoder.forget()


DECODERS: dict[str, Callable[[], Decoder]] = {
    'sensor_msgs/msg/Image': lambda: PictureDecoder(to_rgb),
    'sensor_msgs/msg/CompressedImage': lambda: PictureDecoder(compressed_to_rgb),
    **dict.fromkeys((*VIDEO_TYPES, protobuf_video.TYPE), PacketDecoder),
}
"""What makes the decoder of a topic, by the type of its messages."""


def _header(read: Any, message: Message) -> Any:
    """Return the header of a deserialized message; Foxglove's have its parts."""
    if hasattr(read, 'header'):
        return like_ros2(read.header) if message.topic.encoding == 'ros1' else read.header
    return BagMessages().header(nanoseconds(read.timestamp), read.frame_id)


def has_pictures(topic: Topic) -> bool:
    """Tell whether the messages of a topic can be decoded."""
    return topic.type in DECODERS and is_readable(topic)
