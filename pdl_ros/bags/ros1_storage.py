"""ROS 1 bags, by a walk over their records: one that was not closed (`.bag.active`) has no index.

Format 2.0: records of a header of named fields and data. Chunks hold connections and messages, and
the index of each chunk follows it, as long as it was written whole.
"""

from __future__ import annotations

import io
import struct
from array import array
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pdl_ros.bags.storage import (
    Blocks,
    Topic,
    add_entry,
    as_index,
    count,
    cut_off,
    read_exactly,
    standard_name,
    unpack,
)
from pdl_ros.errors import printable

MAGIC = b'#ROSBAG V2.0\n'
_MESSAGE, _BAG, _INDEX, _CHUNK, _CONNECTION = 2, 3, 4, 5, 7
_NUMBER = struct.Struct('<I')


class Ros1Storage:
    """A ROS 1 bag file."""

    is_ros1 = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ''
        self._compressions: set[str] = set()
        self._connections: dict[int, tuple[str, str, str]] = {}
        self._walk()
        self._counts = count(self._entries)

    @property
    def format(self) -> str:
        found = sorted(self._compressions - {'none'})
        return ', '.join(['ROS 1', *(f'{name} chunks' for name in found)])

    @property
    def topics(self) -> dict[int, Topic]:
        return {
            number: Topic(name, kind, 'ros1', 'ros1msg', text, self._counts.get(number, 0))
            for number, (name, kind, text) in self._connections.items()
        }

    def index(self, connections: Collection[int]) -> np.ndarray:
        return self._entries[np.isin(self._entries['connection'], list(connections))]

    def open(self) -> _OpenBag:
        return _OpenBag(self.path)

    def _walk(self) -> None:
        """Find all messages: by the index of their chunk, or in the chunk where that has none."""
        chunks: dict[int, array[int]] = {0: array('q')}
        place, size, closed, end = 0, self.path.stat().st_size, False, 0
        with self.path.open('rb') as file:
            for record in _records(file, len(MAGIC), size):
                end = record.end
                if record.op == _CHUNK:
                    self._note_compression(record)
                    place = record.start
                    chunks[place] = array('q')
                elif end > size:
                    break
                elif record.op == _INDEX and place:
                    _read_index(chunks[place], file, record, place)
                elif record.op == _BAG:
                    closed = any(record.fields.get(b'index_pos', b''))
                else:
                    self._take(chunks[0], 0, file, record)
            whole = closed and end == size
            if place and not whole:
                chunks[place] = array('q')  # its index may lack what was cut off
            missing = {number for found in chunks.values() for number in found[1::4]}
            missing -= set(self._connections)
            for place, found in chunks.items():
                if place and (missing or not found):
                    self._scan(found, file, place)
                    missing -= set(self._connections)
        self._entries = np.concatenate([as_index(found) for found in chunks.values()])
        if not whole:
            self.damage = cut_off(self._entries)

    def _note_compression(self, chunk: _Record) -> None:
        name = chunk.fields.get(b'compression', b'none').decode(errors='replace')
        self._compressions.add(printable(name[:20]))

    def _scan(self, entries: array[int], file: BinaryIO, place: int) -> None:
        """Take the connections out of a chunk, and its messages if none of them is known."""
        try:
            data = _load(file, place)
        except Exception as error:
            # What a decompressor raises is not documented; the next chunk may be whole.
            self.damage = f'is damaged ({error}); the rest of it is read'
            return
        block, indexed = io.BytesIO(data), bool(entries)
        for record in _records(block, 0, len(data)):
            if record.end <= len(data) and (record.op == _CONNECTION or not indexed):
                self._take(entries, place, block, record)

    def _take(self, entries: array[int], block: int, file: BinaryIO, record: _Record) -> None:
        try:
            if record.op == _MESSAGE:
                place = record.time(), record.number(b'conn'), block, record.start
            elif record.op == _CONNECTION:
                file.seek(record.data)
                about = _fields(read_exactly(file, record.end - record.data))
                self._connections.setdefault(
                    record.number(b'conn'),
                    (
                        record.fields[b'topic'].decode(errors='replace'),
                        standard_name(about[b'type'].decode(errors='replace')),
                        about.get(b'message_definition', b'').decode(errors='replace'),
                    ),
                )
        except (ValueError, struct.error, KeyError):
            return
        if record.op == _MESSAGE:
            add_entry(entries, *place)


class _OpenBag:
    def __init__(self, path: Path) -> None:
        self._blocks = Blocks(path, _load)
        self.close = self._blocks.close

    def read(self, block: int, offset: int) -> bytes:
        file = self._blocks[block]
        for record in _records(file, offset, file.seek(0, io.SEEK_END)):
            if record.op == _MESSAGE:
                file.seek(record.data)
                return read_exactly(file, record.end - record.data)
            if record.op != _CONNECTION:  # which a message may follow that the index means
                break
        raise ValueError('the index points elsewhere')


class _Record(NamedTuple):
    """A record, by where it starts, where its data are and where they end."""

    op: int
    fields: dict[bytes, bytes]
    start: int
    data: int
    end: int

    def number(self, name: bytes) -> int:
        return _NUMBER.unpack(self.fields[name])[0]

    def time(self) -> int:
        """Log time of a message, nanoseconds."""
        seconds, nanoseconds = struct.unpack('<II', self.fields[b'time'])
        return seconds * 10**9 + nanoseconds


def _read_index(entries: array[int], file: BinaryIO, record: _Record, place: int) -> None:
    try:
        connection = record.number(b'conn')
        file.seek(record.data)
        places = list(struct.iter_unpack('<III', read_exactly(file, record.end - record.data)))
    except (ValueError, struct.error, KeyError):
        return
    for seconds, nanoseconds, offset in places:
        add_entry(entries, seconds * 10**9 + nanoseconds, connection, place, offset)


def _load(file: BinaryIO, place: int) -> bytes:
    """Return the records of the chunk at a place; of one cut off, what of them is there."""
    size = file.seek(0, io.SEEK_END)
    for record in _records(file, place, size):
        if record.op != _CHUNK:
            break
        file.seek(record.data)
        data = read_exactly(file, min(record.end, size) - record.data)
        kind = record.fields[b'compression'].decode(errors='replace')
        return unpack(data, kind, record.number(b'size'), record.end > size)
    raise ValueError('the index points elsewhere')


def _records(file: BinaryIO, start: int, size: int) -> Iterator[_Record]:
    """Yield the records from `start`; the last may reach over the end. Ends where none can be."""
    while 0 <= start < size:
        try:
            file.seek(start)
            (length,) = _NUMBER.unpack(file.read(4))
            fields = _fields(read_exactly(file, length))
            (amount,) = _NUMBER.unpack(file.read(4))
        except (ValueError, struct.error):
            return
        data = start + 8 + length
        yield _Record(
            int.from_bytes(fields.get(b'op', b''), 'little'), fields, start, data, data + amount
        )
        start = data + amount


def _fields(header: bytes) -> dict[bytes, bytes]:
    """Return the fields of a header. Raises ValueError or struct.error if it is none."""
    fields, start = {}, 0
    while start < len(header):
        (length,) = _NUMBER.unpack_from(header, start)
        name, equals, value = header[start + 4 : start + 4 + length].partition(b'=')
        if not equals:
            raise ValueError('a field without a value')
        fields[name] = value
        start += 4 + length
    return fields
