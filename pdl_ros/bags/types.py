"""The message types that recordings hold, without ROS: those of ROS 2 and pdl_ros' own.

Own types are read from the same .msg files that ROS builds its classes from: in an installed
package they lie beside the code (setup.py and CMakeLists.txt put them there), in a source checkout
in `msg/`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pdl_ros
from pdl_ros.bags.video_types import VIDEO_DEFINITIONS
from pdl_ros.errors import PdlError, require_package

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_STORES = {'cdr': 'ROS2_JAZZY', 'ros1': 'ROS1_NOETIC'}
ENCODINGS = tuple(_STORES)
"""Encodings of messages that can be read."""
DISTRO = 'jazzy'
"""Whose types these are; those of sensor_msgs and std_msgs are the same in later ones."""


class Definition(NamedTuple):
    """How a type is described in a recording.

    text: the .msg file followed by those of all types in it, as rosbag2 writes them. encoding: of
    the text, `ros2msg` or `ros2idl`. type_hash: `RIHS01_...` (REP 2016), '' where it is not known.
    """

    text: str
    encoding: str = 'ros2msg'
    type_hash: str = ''


@functools.cache
def typestore(encoding: str = 'cdr') -> Typestore:
    """Return the types of ROS 2 with pdl_ros' own, or with `ros1` those of ROS 1.

    Raises PdlError where the extra `bag` is not installed.
    """
    require_package('rosbags', 'bag')
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores[_STORES[encoding]])
    own = own_definitions() if encoding == 'cdr' else {}
    for name, text in {**own, **VIDEO_DEFINITIONS}.items():
        store.register(get_types_from_msg(text, name))
    return store


def message_class(name: str) -> Any:
    """Return the class of ``package/msg/Name``; all fields are given when one is made."""
    return typestore().types[name]


def serialize(message: Any) -> bytes:
    """Return a message of one of the classes of `message_class` as ROS 2 sends it."""
    return bytes(typestore().serialize_cdr(message, message.__msgtype__))


@functools.cache
def definition(name: str) -> Definition:
    """Describe a type as rosbag2 does. Raises PdlError where it is not known.

    Of pdl_ros' own types the comments are kept: they say what the values mean.
    """
    store = typestore()
    if name not in store.fielddefs:
        raise PdlError(f'The message type {name} is not known.')
    text, _ = store.generate_msgdef(name, ros_version=2)
    rule = '=' * 80 + '\n'
    parts = text.split(rule)
    names = [name, *(_full_name(part.partition('\n')[0]) for part in parts[1:])]
    for number, of_part in enumerate(names):
        if own := own_definitions().get(of_part):
            head = parts[number].partition('\n')[0] + '\n' if number else ''
            parts[number] = head + own
    return Definition(rule.join(parts), type_hash=store.hash_rihs01(name))


@functools.cache
def own_definitions() -> dict[str, str]:
    """Return the text of pdl_ros' own .msg files by the name of their type."""
    package = Path(pdl_ros.__file__).parent
    for folder in (package / 'definitions', package.parent / 'msg'):
        files = sorted(folder.glob('*.msg'))
        if files:
            return {f'pdl_ros/msg/{file.stem}': file.read_text(encoding='utf-8') for file in files}
    raise PdlError(
        f'The definitions of the messages are not beside {package}; install pdl_ros again.'
    )


def _full_name(head: str) -> str:
    """Return ``package/msg/Name`` for the line ``MSG: package/Name``."""
    package, _, name = head.removeprefix('MSG: ').partition('/')
    return f'{package}/msg/{name}'
