"""MCAP files: by their index where it is whole, else by a walk over their records.

A recorder that was killed leaves no index, and its last chunk ends anywhere.
"""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    Footer,
    Header,
    MessageIndex,
    Schema,
    Statistics,
)

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
from pdl_ros.bags.video_types import OTHER_NAMES
from pdl_ros.errors import printable

MAGIC = b'\x89MCAP0\r\n'
_HEAD = struct.Struct('<BQ')  # of a record: opcode, length
_MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
_FOOTER = 9 + 20 + len(MAGIC)
_OPCODES = range(0x01, 0x10)
_PRIVATE = 0x80
_INDEXED = 16  # bytes that a message takes in the index


class McapStorage:
    """An MCAP file. Schemas and channels that cannot be read are left out, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = path.stat().st_size
        self._clear()
        with path.open('rb') as file:
            self.is_ros1 = self._read_profile(file) == 'ros1'
            if not self._read_summary(file):
                self._scan(file)

    def _clear(self) -> None:
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        self._compressions: set[str] = set()
        self._counts: dict[int, int] = {}
        self._entries: np.ndarray | None = None
        self.damage = ''

    @property
    def format(self) -> str:
        found = self._compressions | {chunk.compression for chunk in self._chunks}
        return ', '.join(
            ['mcap', *(f'{printable(name[:20])} chunks' for name in sorted(found - {''}))]
        )

    @property
    def topics(self) -> dict[int, Topic]:
        return {number: self._topic(channel) for number, channel in self._channels.items()}

    def index(self, connections: Collection[int]) -> np.ndarray:
        with self.path.open('rb') as file:
            if self._entries is None:
                with contextlib.suppress(McapError, ValueError, OverflowError, struct.error):
                    return self._read_index(file, connections)
                self._scan(file)
        assert self._entries is not None
        return self._entries[np.isin(self._entries['connection'], list(connections))]

    def open(self) -> _OpenMcap:
        return _OpenMcap(self.path)

    def _topic(self, channel: Channel) -> Topic:
        schema = self._schemas.get(channel.schema_id)
        encoding = channel.message_encoding.lower() or ('ros1' if self.is_ros1 else 'cdr')
        name = standard_name(schema.name) if schema else ''
        return Topic(
            channel.topic,
            OTHER_NAMES.get(name, name) if encoding == 'cdr' else name,
            encoding,
            schema.encoding if schema else '',
            schema.data.decode(errors='surrogateescape') if schema else '',
            self._counts.get(channel.id, 0),
            schema.name if schema else '',
            channel.metadata.get('offered_qos_profiles', ''),
            channel.metadata.get('topic_type_hash', ''),
        )

    def _read_profile(self, file: BinaryIO) -> str:
        with contextlib.suppress(McapError, ValueError, struct.error):
            for _, position, length in _records(file, len(MAGIC), self._size):
                return Header.read(_stream(file, position, length)).profile
        return ''

    def _read_summary(self, file: BinaryIO) -> bool:
        """Read what the end of the file says of the rest; False if it does not say all of it."""
        try:
            file.seek(-_FOOTER, io.SEEK_END)
            end = file.tell()
            opcode, length = _HEAD.unpack(read_exactly(file, _HEAD.size))
            start = Footer.read(_stream(file, end + _HEAD.size, length)).summary_start
            if opcode != Opcode.FOOTER or not len(MAGIC) <= start <= end:
                return False
            statistics, seen = None, Counter[int]()
            for opcode, position, length in _records(file, start, end):
                seen[opcode] += 1
                if opcode == Opcode.STATISTICS:
                    statistics = Statistics.read(_stream(file, position, length))
                elif opcode == Opcode.CHUNK_INDEX:
                    self._chunks.append(ChunkIndex.read(_stream(file, position, length)))
                else:
                    self._note(opcode, file, position, length)
        except (OSError, McapError, ValueError, struct.error):
            return False
        if not statistics:
            return False
        self._counts = dict(statistics.channel_message_counts)
        return (
            seen[Opcode.SCHEMA] >= statistics.schema_count
            and seen[Opcode.CHANNEL] >= statistics.channel_count
            and seen[Opcode.CHUNK_INDEX] >= statistics.chunk_count
            and (seen[Opcode.CHUNK_INDEX] > 0 or statistics.message_count == 0)
        )

    def _read_index(self, file: BinaryIO, connections: Collection[int]) -> np.ndarray:
        """Return the entries that the file's own index has. ValueError when some are missing."""
        entries, wanted = array('q'), set(connections)
        for chunk in self._chunks:
            for connection in wanted & chunk.message_index_offsets.keys():
                offset = chunk.message_index_offsets[connection]
                opcode, position, length = next(_records(file, offset, self._size), (0, 0, 0))
                if opcode != Opcode.MESSAGE_INDEX:
                    raise ValueError('the index points elsewhere')
                for time, place in MessageIndex.read(_stream(file, position, length)).records:
                    add_entry(entries, time, connection, chunk.chunk_start_offset, place)
                if len(entries) // 4 > self._size // _INDEXED:
                    raise ValueError('the index has parts that are meant twice')
        if len(entries) != 4 * sum(self._counts.get(number, 0) for number in wanted):
            raise ValueError('the index lacks messages')
        return as_index(entries)

    def _scan(self, file: BinaryIO) -> None:
        """Walk over all that is in the file, cut off or damaged as it may be."""
        self._clear()
        entries, ended, damaged = array('q'), False, 0
        for opcode, position, length in _records(file, len(MAGIC), self._size):
            there = min(length, self._size - position)
            if opcode == Opcode.CHUNK:
                damaged += not self._scan_chunk(entries, file, position, there, there < length)
            elif opcode == Opcode.FOOTER:
                ended = there == length
                break
            else:
                self._take(entries, 0, self._size, file, opcode, position, length)
        self._entries = as_index(entries)
        self._counts = count(self._entries)
        if not ended:
            self.damage = cut_off(self._entries)
        elif damaged:
            self.damage = f'has {damaged} damaged chunks; messages read: {len(self._entries)}'

    def _scan_chunk(
        self, entries: array[int], file: BinaryIO, position: int, length: int, cut: bool
    ) -> bool:
        """Take what is in a chunk; False if it is damaged, and not only cut."""
        try:
            chunk, data = _unpacked(file, position, length, cut)
        except Exception:
            # What a decompressor raises is not documented; the next chunk may be whole.
            return False
        self._compressions.add(chunk.compression)
        block, end = io.BytesIO(data), 0
        for opcode, start, size in _records(block, 0, len(data)):
            end = start + size
            self._take(entries, position - _HEAD.size, len(data), block, opcode, start, size)
        return cut or end == len(data)

    def _take(
        self,
        entries: array[int],
        block: int,
        end: int,
        file: BinaryIO,
        opcode: int,
        position: int,
        length: int,
    ) -> None:
        """Add a record of a block that has `end` bytes to what is known, if it is whole."""
        if position + length > end:
            return
        if opcode == Opcode.MESSAGE and length >= _MESSAGE.size:
            channel, _, time, _ = _MESSAGE.unpack(read_exactly(file, _MESSAGE.size))
            add_entry(entries, time, channel, block, position - _HEAD.size)
        else:
            self._note(opcode, file, position, length)

    def _note(self, opcode: int, file: BinaryIO, position: int, length: int) -> None:
        with contextlib.suppress(McapError, ValueError, struct.error):
            if opcode == Opcode.SCHEMA:
                schema = Schema.read(_stream(file, position, length))
                self._schemas.setdefault(schema.id, schema)
            elif opcode == Opcode.CHANNEL:
                channel = Channel.read(_stream(file, position, length))
                self._channels.setdefault(channel.id, channel)


class _OpenMcap:
    def __init__(self, path: Path) -> None:
        self._blocks = Blocks(path, _load)
        self.close = self._blocks.close

    def read(self, block: int, offset: int) -> bytes:
        file = self._blocks[block]
        file.seek(offset)
        opcode, length = _HEAD.unpack(read_exactly(file, _HEAD.size))
        if opcode != Opcode.MESSAGE or length < _MESSAGE.size:
            raise ValueError('the index points elsewhere')
        read_exactly(file, _MESSAGE.size)
        return read_exactly(file, length - _MESSAGE.size)


def _load(file: BinaryIO, block: int) -> bytes:
    file.seek(block)
    opcode, length = _HEAD.unpack(read_exactly(file, _HEAD.size))
    if opcode != Opcode.CHUNK:
        raise ValueError('the index points elsewhere')
    there = max(min(length, file.seek(0, io.SEEK_END) - block - _HEAD.size), 0)
    return _unpacked(file, block + _HEAD.size, there, cut=there < length)[1]


def _unpacked(file: BinaryIO, position: int, length: int, cut: bool) -> tuple[Chunk, bytes]:
    """Return a chunk and its records; of one that was cut off, what of them is there."""
    file.seek(position)
    chunk = Chunk.read(_stream(file, position, length))
    data = unpack(chunk.data, chunk.compression, chunk.uncompressed_size, cut)
    if chunk.uncompressed_crc and not cut and zlib.crc32(data) != chunk.uncompressed_crc:
        raise ValueError('the checksum of a chunk does not fit')
    return chunk, data


def _records(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield opcode, position and length of records; the last may reach over the end.

    The file stands at the record's content. Ends where no record can be: files that were open in a
    power failure end with zeros.
    """
    while 0 <= start <= end - _HEAD.size:
        file.seek(start)
        opcode, length = _HEAD.unpack(file.read(_HEAD.size))
        if opcode not in _OPCODES and opcode < _PRIVATE:
            return
        start += _HEAD.size
        yield opcode, start, length
        start += length


def _stream(file: BinaryIO, position: int, length: int) -> ReadDataStream:
    """Return the content of a record for the parsers of `mcap`."""
    file.seek(position)
    return ReadDataStream(io.BytesIO(read_exactly(file, length)))
