"""Recordings for tests: a camera's frames in every format, and what recorders do to them."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
FORMATS = [StoragePlugin.SQLITE3, StoragePlugin.MCAP]
START, PERIOD = 10**18, 10**8
"""Log time of the first frame and between frames, nanoseconds: 10 Hz."""


def frame(number: int) -> np.ndarray:
    """A picture of its own, smooth enough for JPEG, and with the noise of a camera."""
    rows, columns = np.mgrid[:24, :32]
    smooth = np.stack([rows * 8, columns * 6, np.full_like(rows, 17 * number)], -1).astype(np.uint8)
    return smooth ^ np.random.default_rng(number).integers(0, 8, smooth.shape, np.uint8)


def message(number: int, encoding: str = 'rgb8', store=STORE):
    """A frame as a message, raw in an encoding or `jpeg`."""
    types = store.types
    stamp = types['builtin_interfaces/msg/Time'](sec=1, nanosec=2)
    sequence = (number,) if store is ROS1 else ()
    header = types['std_msgs/msg/Header'](*sequence, stamp=stamp, frame_id='camera')
    rgb = frame(number)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    if encoding == 'jpeg':
        return types[COMPRESSED](header, 'jpeg', cv2.imencode('.jpg', bgr)[1].reshape(-1))
    pixels = bgr if encoding == 'bgr8' else rgb
    return types[IMAGE](header, 24, 32, encoding, 0, 96, pixels.reshape(-1))


def serialized(number: int, encoding: str = 'rgb8') -> bytes:
    """A frame as ROS 2 sends it."""
    kind = COMPRESSED if encoding == 'jpeg' else IMAGE
    return bytes(STORE.serialize_cdr(message(number, encoding), kind))


def record(
    path: Path,
    topics: dict[str, str],
    frames: range | int = 4,
    plugin=StoragePlugin.SQLITE3,
    compression=None,
) -> Path:
    """Write a bag with an image topic in an encoding, or `jpeg`, for each name, at 10 Hz."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for topic, encoding in topics.items():
            kind = COMPRESSED if encoding == 'jpeg' else IMAGE
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for number in range(frames) if isinstance(frames, int) else frames:
                writer.write(connection, START + number * PERIOD, serialized(number, encoding))
    return path


def data_file(folder: Path) -> Path:
    """The one data file of a bag."""
    (file,) = (entry for entry in folder.iterdir() if entry.suffix != '.yaml')
    return file


class McapFile:
    """Write an MCAP as no recorder would."""

    def __init__(self, path: Path, profile: str = 'ros2', **options) -> None:
        self.path, self._file = path, path.open('wb')
        self._writer = McapWriter(self._file, **options)
        self._writer.start(profile, 'test')

    def topic(
        self,
        name: str,
        kind: str | None = IMAGE,
        definition: str | bytes = 'uint8 odd',
        schema_encoding: str = 'ros2msg',
        encoding: str = 'cdr',
    ) -> int:
        """Add a channel with a schema of its own, without one for None; return its number."""
        text = definition.encode() if isinstance(definition, str) else definition
        schema = self._writer.register_schema(kind, schema_encoding, text) if kind else 0
        return self._writer.register_channel(name, encoding, schema)

    def write(self, channel: int, time: int, data: bytes) -> None:
        self._writer.add_message(channel, time, data, time)

    def frames(self, channel: int, numbers=range(4), encoding: str = 'rgb8') -> McapFile:
        for number in numbers:
            self.write(channel, START + number * PERIOD, serialized(number, encoding))
        return self

    def finish(self) -> Path:
        self._writer.finish()
        self._file.close()
        return self.path


def record_mcap(path: Path, compression: str = 'zstd', numbers=range(12), **options) -> Path:
    """Write an MCAP of frames in chunks of about three."""
    options = {'chunk_size': 6000, 'compression': CompressionType[compression.upper()], **options}
    file = McapFile(path, **options)
    return file.frames(file.topic('/image'), numbers).finish()


def record_ros1(path: Path, compression: str = '', numbers=range(4)) -> Path:
    """Write a bag of ROS 1 with raw frames."""
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(Ros1Writer.CompressionFormat[compression.upper()])
    with writer:
        connection = writer.add_connection('/image', IMAGE, typestore=ROS1)
        for number in numbers:
            raw = ROS1.serialize_ros1(message(number, store=ROS1), IMAGE)
            writer.write(connection, START + number * PERIOD, raw)
    return path


def leave_open(path: Path, cut: int = 0) -> Path:
    """Make an uncompressed bag of ROS 1 one that its recorder did not close (`.bag.active`).

    Its last chunk has no size yet and no index behind it, and nothing follows; `cut` bytes of it
    were not written either.
    """
    data, at, last = bytearray(path.read_bytes()), 13, (0, 0, 0)
    while at < len(data):
        (header,) = struct.unpack_from('<I', data, at)
        (size,) = struct.unpack_from('<I', data, at + 4 + header)
        if b'op=\x05' in data[at : at + header]:
            last = at, header, size
        at += 8 + header + size
    at, header, size = last
    field = data.index(b'size=', at) + 5
    data[field : field + 4] = data[at + 4 + header : at + 8 + header] = bytes(4)
    field = data.index(b'index_pos=') + 10
    data[field : field + 8] = bytes(8)
    path.write_bytes(data[: at + 8 + header + size - cut])
    return path
