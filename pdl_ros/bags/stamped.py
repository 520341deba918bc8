"""Topics whose messages begin with a header: found by the time at which the data were taken."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pdl_ros.errors import PdlError, printable
from pdl_ros.messages.stamps import stamp_of

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Message, Selection
    from pdl_ros.bags.storage import Topic

_CUT = 'the message is damaged: it ends within its header.'
_TEXT = 16  # bytes before the frame_id: of the encoding, the stamp, and its length
_LONGEST = 1000  # bytes of a frame_id that are shown


@dataclass(frozen=True)
class StampedTopic:
    """The messages of one topic of a bag, by the stamps of their headers.

    stamps: (N,) int64 nanoseconds, in the order of the log times. places: (N,) where each is in the
    selection, which other topics of the bag may share.
    """

    name: str
    selection: Selection
    places: np.ndarray
    stamps: np.ndarray

    def messages(self, numbers: Sequence[int] | np.ndarray) -> Iterator[Message]:
        """Yield messages by their places in `stamps`, each read when it is due."""
        with self.selection.open() as opened:
            for number in numbers:
                yield opened.read(int(self.places[number]))


def open_stamped(bag: Bag, *topics: Sequence[Topic]) -> list[StampedTopic]:
    """Read the stamps of all messages of topics, each in its parts; the bag is read once.

    Raises PdlError where a message has no whole header.
    """
    selection = bag.select([part for parts in topics for part in parts])
    numbers = {part.name: number for number, parts in enumerate(topics) for part in parts}
    stamps = np.zeros(len(selection.times), np.int64)
    owners = np.zeros(len(stamps), np.int64)
    with selection.open() as opened:
        for place in range(len(stamps)):
            message = opened.read(place)
            owners[place] = numbers[message.topic.name]
            try:
                stamps[place] = header_of(message)[0]
            except PdlError as error:
                where = f'{bag.path}, {message.topic.name}'
                raise PdlError(f'{where}, logged at {message.log_time}: {error}') from None
    found = [np.flatnonzero(owners == number) for number in range(len(topics))]
    return [
        StampedTopic(parts[0].name, selection, places, stamps[places])
        for parts, places in zip(topics, found, strict=True)
    ]


def header_of(message: Message) -> tuple[int, str]:
    """Return the stamp, in nanoseconds, and the frame_id of a message that begins with a header.

    Nothing else of it is parsed: pictures are large.
    """
    data, encoding = message.data, message.topic.encoding
    if encoding not in ('cdr', 'ros1'):
        raise PdlError(f'{message.topic.name} has {message.topic.contents}, which cannot be read.')
    stamp = stamp_of(data, encoding)
    little = encoding == 'ros1' or data[1] & 1
    try:
        (length,) = struct.unpack_from('<I' if little else '>I', data, _TEXT - 4)
    except struct.error:
        raise PdlError(_CUT) from None
    text = data[_TEXT : _TEXT + min(length, _LONGEST)]
    if len(text) < min(length, _LONGEST):
        raise PdlError(_CUT)
    frame_id = text.rstrip(b'\0').decode('utf-8', 'replace')
    return stamp, printable(frame_id)
