"""A recording as a whole: its topics, and its messages in the order of their log time."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pdl_ros.bags.factory import open_storage
from pdl_ros.bags.files import data_files
from pdl_ros.bags.storage import INDEX, OpenFile, Storage, Topic, unpack_message
from pdl_ros.errors import PdlError, printable

_LOG = logging.getLogger('pdl_ros.bags')
_OPEN_FILES = 8


class Message(NamedTuple):
    """A message as it was recorded. log_time: nanoseconds; data: serialized by `topic.encoding`."""

    topic: Topic
    log_time: int
    data: bytes


class Bag:
    """A recording of rosbag2 (MCAP or SQLite) or ROS 1: a file, or a folder with its parts.

    Nothing in it is trusted, and nothing but what is asked for is read: a topic with a foreign or
    broken definition harms no other. What was cut off is read as far as it is whole, with a warning
    by the logger `pdl_ros.bags`. Raises PdlError where nothing can be read.

    topics: those of one name, type and encoding are one, whoever published them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: list[Path] = []
        self._storages: list[Storage] = []
        refusals: list[str] = []
        files, missing = data_files(path)
        for file in files:
            try:
                self._storages.append(open_storage(file, self._scratch))
                self._files.append(file)
            except MemoryError:
                raise
            except Exception as error:
                # The parsers of damaged files raise whatever their parts raise.
                refusals.append(f'{file} cannot be read as a rosbag: {_reason(error)}')
        if not self._storages:
            raise PdlError(refusals[0])
        for refusal in refusals:
            _LOG.warning('%s The other files are read.', refusal)
        self._refusals = [missing, *refusals] if missing else refusals
        self._reported: set[int] = set()
        self._report()
        self._merge()

    def _merge(self) -> None:
        """Bring the connections of all files together to topics."""
        merged: dict[tuple[str, str, str], Topic] = {}
        self._keys: list[dict[int, tuple[str, str, str]]] = []
        for storage in self._storages:
            self._keys.append({})
            for number, topic in storage.topics.items():
                key = topic.name, topic.type, topic.encoding
                before = merged.get(key, replace(topic, count=0))
                merged[key] = replace(before, count=before.count + topic.count)
                self._keys[-1][number] = key
        self._topics = merged

    @property
    def topics(self) -> list[Topic]:
        return sorted(self._topics.values(), key=lambda topic: (topic.name, topic.type))

    @property
    def is_ros1(self) -> bool:
        """Whether it was recorded by ROS 1, in whichever format it is."""
        return any(storage.is_ros1 for storage in self._storages)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.damage

    @property
    def damage(self) -> list[str]:
        """What is known to be missing, a sentence a file."""
        damaged = [(f, s.damage) for f, s in self.files if s.damage]
        return [*self._refusals, *(f'{file} {damage}.' for file, damage in damaged)]

    @property
    def files(self) -> list[tuple[Path, Storage]]:
        """The files that are read, in order, and what is in each."""
        return list(zip(self._files, self._storages, strict=True))

    def times(self, topics: Collection[Topic]) -> np.ndarray:
        """Return (N,) int64 log times of the messages of topics, nanoseconds, in order."""
        return np.sort(self._index(topics)[0]['time'])

    def messages(self, topics: Collection[Topic]) -> Iterator[Message]:
        """Yield the messages of topics in the order of their log time, each read when it is due."""
        selection = self.select(topics)
        with selection.open() as opened:
            for position in range(len(selection.times)):
                yield opened.read(position)

    def select(self, topics: Collection[Topic]) -> Selection:
        """Return the messages of topics in the order of their log time, none read yet."""
        index, numbers = self._index(topics)
        order = np.argsort(index['time'], kind='stable')
        return Selection(self, index[order], numbers[order])

    def _index(self, topics: Collection[Topic]) -> tuple[np.ndarray, np.ndarray]:
        """Return (N,) INDEX of the messages of topics and (N,) the number of their file."""
        wanted = {(topic.name, topic.type, topic.encoding) for topic in topics}
        parts = [np.empty(0, INDEX)]
        for file, storage, keys in zip(self._files, self._storages, self._keys, strict=True):
            connections = [number for number, key in keys.items() if key in wanted]
            try:
                parts.append(storage.index(connections) if connections else parts[0])
            except MemoryError:
                raise
            except Exception as error:
                raise PdlError(f'{file} is damaged: {_reason(error)}') from None
        self._report()  # an index may have turned out to be wrong
        lengths = [len(part) for part in parts[1:]]
        return np.concatenate(parts), np.repeat(np.arange(len(lengths)), lengths)

    def _report(self) -> None:
        for number, (file, storage) in enumerate(zip(self._files, self._storages, strict=True)):
            if storage.damage and number not in self._reported:
                self._reported.add(number)
                _LOG.warning('%s %s.', file, storage.damage)

    def topic_at(self, number: int, connection: int) -> Topic:
        """Return the topic of a connection of the file with this number."""
        return self._topics[self._keys[number][connection]]

    def open_file(self, number: int) -> OpenFile:
        """Open the file with this number."""
        return self._storages[number].open()

    def file(self, number: int) -> Path:
        """Return the path of the file with this number."""
        return self._files[number]

    def _scratch(self) -> Path:
        """Make a folder that goes with this recording."""
        folder = Path(tempfile.mkdtemp(prefix='pdl_ros_bag_'))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder


@dataclass(frozen=True)
class Selection:
    """Messages in the order of their log time, by position: where each is, until it is read.

    index: (N,) INDEX; numbers: (N,) those of their files.
    """

    bag: Bag
    index: np.ndarray
    numbers: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """(N,) int64 log times, nanoseconds."""
        return self.index['time']

    def topic(self, position: int) -> Topic:
        """Return the topic of a message."""
        number, connection = self.numbers[position], self.index['connection'][position]
        return self.bag.topic_at(int(number), int(connection))

    def topics(self) -> tuple[list[Topic], np.ndarray]:
        """Return the topics that occur, and (N,) the number in that list of each message's."""
        pairs = np.stack([self.numbers, self.index['connection']], 1)
        found, owners = np.unique(pairs, axis=0, return_inverse=True)
        topics: list[Topic] = []
        places = np.zeros(len(found), np.int64)
        for place, (number, connection) in enumerate(found.tolist()):
            topic = self.bag.topic_at(number, connection)
            if topic not in topics:
                topics.append(topic)
            places[place] = topics.index(topic)
        return topics, places[owners.reshape(-1)]

    def open(self) -> OpenSelection:
        """Open the files, to read messages at any positions; a context manager."""
        return OpenSelection(self)


class OpenSelection:
    """Reads messages; of the files, the last few stay open."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._opened: dict[int, OpenFile] = {}

    def __enter__(self) -> OpenSelection:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._opened.values():
            file.close()
        self._opened.clear()

    def read(self, position: int) -> Message:
        """Read a message. Raises PdlError where it is damaged; others can be read still."""
        selection, opened = self._selection, self._opened
        number = int(selection.numbers[position])
        time, connection, block, offset = selection.index[position].item()
        topic = selection.bag.topic_at(number, connection)
        try:
            file = opened.pop(number, None) or selection.bag.open_file(number)
            if len(opened) >= _OPEN_FILES:
                opened.pop(next(iter(opened))).close()
            opened[number] = file
            data = file.read(block, offset)
            return Message(topic, time, unpack_message(data) if topic.encoding == 'cdr' else data)
        except MemoryError:
            raise
        except Exception as error:
            file_name = selection.bag.file(number)
            raise PdlError(f'{file_name} is damaged: {_reason(error)}') from None


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    text = ' '.join((text or '').split()) or type(error).__name__
    return printable(text[:300]).rstrip('.') + '.'
