"""Topics whose messages begin with a header: found by the time at which the data were taken."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.errors import PdlError, printable

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message, Selection
    from pdl_ros.bags.storage import Topic

_CUT = 'the message is damaged: it ends within its header.'
_LONGEST = 1000  # bytes of a frame_id that are shown


@dataclass(frozen=True)
class StampedTopic:
    """The messages of one topic of a bag, by the stamps of their headers.

    stamps: (N,) int64 nanoseconds, in the order of the log times.
    """

    name: str
    selection: Selection
    stamps: np.ndarray

    @classmethod
    def open(cls, bag: Bag, parts: Sequence[Topic]) -> StampedTopic:
        """Read the stamps of all messages. Raises PdlError where one has no whole header."""
        selection, name = bag.select(parts), parts[0].name
        stamps = np.zeros(len(selection.times), np.int64)
        with selection.open() as opened:
            for number in range(len(stamps)):
                try:
                    stamps[number] = header_of(opened.read(number))[0]
                except PdlError as error:
                    where = f'{bag.path}, {name}, message {number + 1}'
                    raise PdlError(f'{where}: {error}') from None
        return cls(name, selection, stamps)

    def messages(self, numbers: Sequence[int] | np.ndarray) -> Iterator[Message]:
        """Yield messages by their places in `stamps`, each read when it is due."""
        with self.selection.open() as opened:
            for number in numbers:
                yield opened.read(int(number))


def header_of(message: Message) -> tuple[int, str]:
    """Return the stamp, in nanoseconds, and the frame_id of a message that begins with a header.

    Nothing else of it is parsed: pictures are large.
    """
    data, encoding = message.data, message.topic.encoding
    start, order = 4, '<'  # ROS 1: after `seq`
    if encoding == 'cdr':
        order = '<' if data[1:2] in (b'\1', b'\3') else '>'
    elif encoding != 'ros1':
        raise PdlError(f'{message.topic.name} has {message.topic.contents}, which cannot be read.')
    try:
        seconds, nanoseconds, length = struct.unpack_from(f'{order}iII', data, start)
    except struct.error:
        raise PdlError(_CUT) from None
    text = data[start + 12 : start + 12 + min(length, _LONGEST)]
    if len(text) < min(length, _LONGEST):
        raise PdlError(_CUT)
    frame_id = text.rstrip(b'\0').decode('utf-8', 'replace')
    return seconds * 10**9 + nanoseconds, printable(frame_id)
