"""Open a file of a recording by what it is, whatever its name says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import zstandard

from pdl_ros.bags import mcap_storage, ros1_storage, sqlite_storage
from pdl_ros.bags.mcap_storage import McapStorage
from pdl_ros.bags.ros1_storage import Ros1Storage
from pdl_ros.bags.sqlite_storage import SqliteStorage
from pdl_ros.bags.storage import ZSTD_MAGIC, Storage

_PIECE = 1 << 20
_RESERVE = 1 << 28
_RATIO = 200  # drawn pictures reach it, cameras' pictures stay under 10
_SMALL = 1 << 30


def open_storage(path: Path, scratch: Callable[[], Path]) -> Storage:
    """Open a file. Raises ValueError and whatever the parsers of a damaged file raise.

    scratch: returns a new empty folder, for a file that has to be unpacked or repaired first.
    """
    with path.open('rb') as file:
        head = file.read(16)
    if head.startswith(ZSTD_MAGIC):
        path, head = _unpack(path, scratch())
    if head.startswith(mcap_storage.MAGIC):
        return McapStorage(path)
    if head.startswith(sqlite_storage.MAGIC):
        return SqliteStorage(path, scratch)
    if head.startswith(ros1_storage.MAGIC):
        return Ros1Storage(path)
    raise ValueError(_refusal(head))


def _unpack(path: Path, folder: Path) -> tuple[Path, bytes]:
    """Unpack a file into a folder, as far as it goes; return the new one and its first bytes."""
    target, size = folder / path.stem, 0
    limit = max(_SMALL, _RATIO * path.stat().st_size)
    limit = min(limit, shutil.disk_usage(folder).free - _RESERVE)
    with path.open('rb') as packed, target.open('wb') as file:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        head = piece = _next(reader)
        if not head.startswith((mcap_storage.MAGIC, sqlite_storage.MAGIC, ros1_storage.MAGIC)):
            raise ValueError(_refusal(head))
        while piece:
            size += len(piece)
            if size > limit:
                raise ValueError(
                    f'it has more than {limit >> 20} MB unpacked, for which there is no room in '
                    f'{folder.parent}; unpack it first: zstd -d {path.name}'
                )
            file.write(piece)
            piece = _next(reader)
    return target, head[:16]


def _next(reader: zstandard.ZstdDecompressionReader) -> bytes:
    """Return the next piece, none where the file ends or is damaged: its parser will notice."""
    try:
        return reader.read(_PIECE)
    except zstandard.ZstdError:
        return b''


def _refusal(head: bytes) -> str:
    if not head:
        return 'it is empty'
    if head.startswith(b'#ROSBAG V'):
        return 'it is of an old version of ROS 1; convert it with: rosbag fix'
    return 'it does not begin like an MCAP, SQLite or ROS 1 file'
