"""What the files of a recording have in common, whichever format they are in."""

from __future__ import annotations

import bz2
import io
from array import array
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import lz4.frame
import numpy as np
import zstandard

from pdl_ros.errors import printable

MAX_BYTES = 1 << 29
"""A message or a block of a file may take so many bytes of memory, whatever it says of itself."""

INDEX = np.dtype([('time', 'i8'), ('connection', 'i8'), ('block', 'i8'), ('offset', 'i8')])
"""One entry a message: log time in nanoseconds, connection, and where in the file it is."""

MAX_MESSAGES = 1 << 25
"""A file without an index may have so many messages: 32 bytes each are held in memory."""

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
_CACHE = 1 << 26
_LATEST = (1 << 63) - 1


@dataclass(frozen=True)
class Topic:
    """A topic as one or several publishers filled it.

    type: ``package/msg/Name``, '' where the recording does not say. encoding: of the messages,
    `cdr` (ROS 2), `ros1`, or something foreign. definition: as recorded, not parsed by anybody;
    bytes that are no text are surrogates. recorded_type, qos, type_hash: as recorded too, '' where
    a recording does not say.
    """

    name: str
    type: str
    encoding: str
    definition_encoding: str = field(repr=False)
    definition: str = field(repr=False)
    count: int
    recorded_type: str = field(default='', repr=False, compare=False)
    qos: str = field(default='', repr=False, compare=False)
    type_hash: str = field(default='', repr=False, compare=False)

    @property
    def contents(self) -> str:
        """What it holds, for a person."""
        encoding = '' if self.encoding == 'cdr' else f' as {printable(self.encoding[:20])}'
        return f'{printable(self.type[:100]) or "messages of an unknown type"}{encoding}'


class OpenFile(Protocol):
    """A file of a recording, open to read messages from."""

    def read(self, block: int, offset: int) -> bytes:
        """Return the serialized message at a place that the index named."""

    def close(self) -> None: ...


class Storage(Protocol):
    """One file of a recording: what is in it, and where."""

    @property
    def is_ros1(self) -> bool: ...

    @property
    def format(self) -> str:
        """What it is, for a person, with how its blocks are compressed."""

    @property
    def damage(self) -> str:
        """What is known to be missing, as the rest of a sentence; '' if nothing is."""

    @property
    def topics(self) -> Mapping[int, Topic]:
        """The topics by the number of their connection; a topic may have several."""

    def index(self, connections: Collection[int]) -> np.ndarray:
        """Return (N,) INDEX of the messages of connections, in the order of the file."""

    def open(self) -> OpenFile: ...


class Blocks:
    """An open file with the blocks that were unpacked last; block 0 is the file itself."""

    def __init__(self, path: Path, load: Callable[[BinaryIO, int], bytes]) -> None:
        self._file, self._load = path.open('rb'), load
        self._blocks: dict[int, bytes] = {}

    def __getitem__(self, position: int) -> BinaryIO:
        """Return the block whose record begins there, as a file."""
        if not position:
            return self._file
        data = self._blocks.pop(position, None)
        if data is None:
            data = self._load(self._file, position)
            while self._blocks and sum(map(len, self._blocks.values())) + len(data) > _CACHE:
                del self._blocks[next(iter(self._blocks))]
        self._blocks[position] = data
        return io.BytesIO(data)

    def close(self) -> None:
        self._file.close()
        self._blocks.clear()


def add_entry(numbers: array[int], time: int, connection: int, block: int, offset: int) -> None:
    """Add an entry to an index that grows. Raises ValueError when it grows without an end."""
    if len(numbers) >= 4 * MAX_MESSAGES:
        raise ValueError(f'it has more than {MAX_MESSAGES} messages')
    numbers.extend((min(time, _LATEST), connection, block, offset))


def as_index(numbers: array[int]) -> np.ndarray:
    """Return (N,) INDEX of what was added to an array of type q."""
    return np.array(numbers, np.int64).view(INDEX)


def count(index: np.ndarray) -> dict[int, int]:
    """Return the number of messages by connection."""
    numbers, counts = np.unique(index['connection'], return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def cut_off(index: np.ndarray) -> str:
    """Return what is said of a file of which a part is missing."""
    return f'was cut off; messages that are whole, and are read: {len(index)}'


def standard_name(name: str) -> str:
    """Return ``package/msg/Name`` for the ``package/Name`` of ROS 1."""
    package, slash, rest = name.partition('/')
    return f'{package}/msg/{rest}' if slash and '/' not in rest else name


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """Read so many bytes. Raises ValueError when there are fewer, or more than MAX_BYTES asked."""
    if size > MAX_BYTES:
        raise ValueError(f'a record says that it has {size} bytes, which are too many')
    data = file.read(size)
    if len(data) < size:
        raise ValueError('it ends in the middle of a record')
    return data


def unpack(data: bytes, compression: str, size: int, cut: bool = False) -> bytes:
    """Decompress a block that says that it has `size` bytes; of one cut off, what is there.

    Raises ValueError when it has another size, or says that it has more than MAX_BYTES.
    """
    if size > MAX_BYTES:
        raise ValueError(f'a block says that it unpacks to {size} bytes, which are too many')
    match compression:
        case '' | 'none':
            unpacked = data
        case 'zstd':
            unpacked = _unpack_zstd(data, size + 1)
        case 'lz4':
            unpacked = lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1)
        case 'bz2':
            unpacked = bz2.BZ2Decompressor().decompress(data, max_length=size + 1)
        case _:
            raise ValueError(f'a block is compressed by {compression[:20]!r}')
    if len(unpacked) != size and not (cut and len(unpacked) < size):
        raise ValueError(f'a block has not the {size} bytes that it says')
    return unpacked


def unpack_message(data: bytes) -> bytes:
    """Decompress a message if it is compressed, as rosbag2 does with `compression_mode: message`.

    No message of ROS 2 begins like that: its first byte is 0.
    """
    if not data.startswith(ZSTD_MAGIC):
        return data
    unpacked = _unpack_zstd(data, MAX_BYTES + 1)
    if len(unpacked) > MAX_BYTES:
        raise ValueError(f'a message has more than {MAX_BYTES} bytes unpacked')
    return unpacked


def _unpack_zstd(data: bytes, limit: int) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True)
    return reader.read(limit)
