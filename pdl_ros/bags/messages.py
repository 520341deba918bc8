"""Messages of recordings, deserialized without ROS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdl_ros.bags import protobuf_video
from pdl_ros.bags.types import ENCODINGS, typestore
from pdl_ros.errors import PdlError

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Message
    from pdl_ros.bags.storage import Topic


def is_readable(topic: Topic) -> bool:
    """Tell whether the messages of a topic can be deserialized."""
    if topic.encoding == 'protobuf':
        return topic.type == protobuf_video.TYPE
    return topic.encoding in ENCODINGS and topic.type in typestore(topic.encoding).fielddefs


def deserialize(message: Message) -> Any:
    """Return a message with the fields of its type. Raises PdlError in one sentence.

    Types are known by their names. The definition that a recording brings along is not asked: it
    may be missing, foreign or wrong, and to use it would mean to run code made from it.
    """
    topic = message.topic
    if not is_readable(topic):
        raise PdlError(f'{topic.name} has {topic.contents}, which cannot be read.')
    try:
        if topic.encoding == 'protobuf':
            return protobuf_video.deserialize_video(message.data)
        store = typestore(topic.encoding)
        read = store.deserialize_ros1 if topic.encoding == 'ros1' else store.deserialize_cdr
        return read(message.data, topic.type)
    except MemoryError:
        raise
    except Exception as error:
        # The generated readers raise whatever their parts raise.
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise PdlError(f'the message is damaged: {reason.rstrip(".")}.') from None
