"""Of a recording that was cut off or damaged, a whole one of all that can be read."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdl_ros.bags.qos import RELIABLE, parse_qos
from pdl_ros.bags.reader import open_bag
from pdl_ros.bags.types import Definition, definition
from pdl_ros.bags.writer import METADATA, BagWriter
from pdl_ros.errors import PdlError, require

if TYPE_CHECKING:
    from pdl_ros.bags.bag import Bag, Selection
    from pdl_ros.bags.storage import Topic

_LOG = logging.getLogger('pdl_ros.bags')


@dataclass(frozen=True)
class Repaired:
    """What became of a recording.

    saved: messages by topic. unreadable: messages that the recording's index names, and that are
    damaged, by topic. damage: what else is known to be missing, a sentence a file. failure: why not
    all could be written, '' if all was.
    """

    saved: Counter[str]
    unreadable: Counter[str]
    damage: list[str]
    had_metadata: bool
    failure: str = ''

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return not self.damage and not self.unreadable and not self.failure


def repair(
    source: Path,
    target: Path,
    compression: str = 'zstd',
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Repaired:
    """Copy every message that can be read, of every topic, into a new recording.

    The messages stay as they are, of whichever type; nothing of them is deserialized. A disk that
    is full keeps what was written. Raises PdlError where not one message can be read, or written.
    """
    bag = open_bag(source)
    require(
        not bag.is_ros1 and not any(topic.encoding == 'ros1' for topic in bag.topics),
        f'{source} is a recording of ROS 1, which stays one; mend it with: rosbag reindex.',
    )
    selection = bag.select(bag.topics)
    total = len(selection.times)
    require(total > 0, f'{source}: not one message can be read; there is nothing to save.')
    saved, unreadable, failure = Counter[str](), Counter[str](), ''
    try:
        with BagWriter(target, compression=compression) as writer:
            _copy(bag, selection, writer, saved, unreadable, progress)
    except PdlError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        saved, failure = _counts_of(target), str(error)
        if not saved:
            raise
    had_metadata = source.is_dir() and (source / METADATA).is_file()
    return Repaired(saved, unreadable, bag.damage, had_metadata, failure)


def _copy(
    bag: Bag,
    selection: Selection,
    writer: BagWriter,
    saved: Counter[str],
    unreadable: Counter[str],
    progress: Callable[[int, int], None],
) -> None:
    """Write what can be read, and count it by topic."""
    numbers, total = {topic: _add(writer, topic) for topic in bag.topics}, len(selection.times)
    with selection.open() as opened:
        for position in range(total):
            topic = selection.topic(position)
            try:
                message = opened.read(position)
            except PdlError as error:
                if not unreadable:
                    _LOG.warning('%s What else can be read is saved.', error)
                unreadable[topic.name] += 1
                continue
            writer.write(numbers[topic], message.log_time, message.data)
            saved[topic.name] += 1
            if position % 100 == 0 or position == total - 1:
                progress(position + 1, total)


def _counts_of(path: Path) -> Counter[str]:
    """Return how many messages of each topic can be read of a recording that was cut off."""
    try:
        left = open_bag(path)
    except PdlError:  # not even its beginning is there
        return Counter()
    owners = left.select(left.topics)
    return Counter(owners.topic(position).name for position in range(len(owners.times)))


def _add(writer: BagWriter, topic: Topic) -> int:
    """Add a topic as it was recorded, with its definition, whatever it is."""
    described = Definition(topic.definition, topic.definition_encoding, topic.type_hash)
    if not topic.definition:  # files before ROS 2 Iron have none
        with contextlib.suppress(PdlError):
            described = definition(topic.type)
    offered = parse_qos(topic.qos) or (RELIABLE,)
    kind = topic.recorded_type or topic.type
    return writer.add_topic(topic.name, kind, offered, described, topic.encoding)
