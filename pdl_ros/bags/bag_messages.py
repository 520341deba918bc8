"""Messages of the classes that recordings are written with, for what `pdl_ros.messages` makes."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pdl_ros.bags.types import message_class, typestore

_NUMBERS = {'bool': np.bool_, 'octet': np.uint8, 'byte': np.uint8, 'char': np.uint8}


class BagMessages:
    """A factory of messages that `bags.types.serialize` takes."""

    def new(self, name: str, /, **fields: Any) -> Any:
        defaults, arrays = _fields(name)
        given = {
            field: fields[field] if field in fields else make() for field, make in defaults.items()
        }
        for field, dtype in arrays.items():
            given[field] = np.asarray(given[field], dtype)
        return message_class(name)(**given)

    def octets(self, data: bytes) -> np.ndarray:
        return np.frombuffer(bytearray(data), np.uint8)

    def header(self, stamp: int, frame_id: str) -> Any:
        """Return a std_msgs/Header; stamp: nanoseconds since 1970."""
        sec, nanosec = divmod(stamp, 10**9)
        time = message_class('builtin_interfaces/msg/Time')(sec, nanosec)
        return message_class('std_msgs/msg/Header')(time, frame_id)


def like_ros2(message: Any) -> Any:
    """Return a message of ROS 1 as that of ROS 2, whose fields may be written differently."""
    name = message.__msgtype__
    known = {
        field.lower(): value for field, value in vars(message).items() if not field.startswith('_')
    }
    fields = {}
    for field, _ in typestore().fielddefs[name][1]:
        value = known[field]
        fields[field] = like_ros2(value) if hasattr(value, '__msgtype__') else value
    return message_class(name)(**fields)


@functools.cache
def _fields(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what makes the zero of each field of a type, and the dtype of those that are numbers
    in a row.
    """
    from rosbags.interfaces import Nodetype

    defaults: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    fields: list[tuple[str, Any]] = list(typestore().fielddefs[name][1])
    for field, (kind, content) in fields:
        if kind == Nodetype.NAME:
            defaults[field] = functools.partial(BagMessages().new, content)
        elif kind == Nodetype.BASE:
            defaults[field] = functools.partial(_zero, content[0])
        else:
            inner, length = content
            size = length if kind == Nodetype.ARRAY else 0
            if inner[0] == Nodetype.BASE and inner[1][0] != 'string':
                arrays[field] = np.dtype(_NUMBERS.get(inner[1][0], inner[1][0]))
                defaults[field] = functools.partial(np.zeros, size)
            else:
                defaults[field] = list
    return defaults, arrays


def _zero(kind: str) -> Any:
    if kind in ('string', 'wstring'):
        return ''
    if kind == 'bool':
        return False
    return 0.0 if kind.startswith('float') else 0
