"""Messages of recordings, deserialized without ROS."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pdl_ros.bags.video_types import VIDEO_DEFINITIONS
from pdl_ros.errors import PdlError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

    from pdl_ros.bags.bag import Message
    from pdl_ros.bags.storage import Topic

_STORES = {'cdr': 'ROS2_JAZZY', 'ros1': 'ROS1_NOETIC'}


def is_readable(topic: Topic) -> bool:
    """Tell whether the messages of a topic can be deserialized."""
    return topic.encoding in _STORES and topic.type in _store(topic.encoding).fielddefs


def deserialize(message: Message) -> Any:
    """Return a message with the fields of its type. Raises PdlError in one sentence.

    Types are known by their names. The definition that a recording brings along is not asked: it
    may be missing, foreign or wrong, and to use it would mean to run code made from it.
    """
    topic = message.topic
    if not is_readable(topic):
        raise PdlError(f'{topic.name} has {topic.contents}, which cannot be read.')
    store = _store(topic.encoding)
    read = store.deserialize_ros1 if topic.encoding == 'ros1' else store.deserialize_cdr
    try:
        return read(message.data, topic.type)
    except MemoryError:
        raise
    except Exception as error:
        # The generated readers raise whatever their parts raise.
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise PdlError(f'the message is damaged: {reason.rstrip(".")}.') from None


@functools.cache
def _store(encoding: str) -> Typestore:
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores[_STORES[encoding]])
    for name, definition in VIDEO_DEFINITIONS.items():
        store.register(get_types_from_msg(definition, name))
    return store
