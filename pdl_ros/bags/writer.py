"""New recordings: folders as rosbag2 writes them, of MCAP files with zstd chunks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from pdl_ros import __version__
from pdl_ros.bags.metadata import FileSummary, WrittenTopic, metadata_of_file, metadata_text
from pdl_ros.bags.qos import RELIABLE, OfferedQos
from pdl_ros.bags.types import Definition, definition
from pdl_ros.errors import PdlError, os_error_reason, require_bag_packages
from pdl_ros.runtime.files import atomic_write

_CHUNK = 1 << 20
METADATA = 'metadata.yaml'


class McapFileWriter:
    """One MCAP file of a recording, in the profile `ros2`, written to an open file.

    `topics` get the numbers 0, 1, ... in it. compression: `zstd`, `lz4` or `none`, of its chunks.
    What the disk refuses is an OSError.
    """

    def __init__(
        self,
        file: BinaryIO,
        topics: Sequence[WrittenTopic] = (),
        compression: str = 'zstd',
        chunk_size: int = _CHUNK,
    ) -> None:
        require_bag_packages()
        from mcap.writer import CompressionType, Writer

        self._file = file
        self._writer = Writer(
            file, chunk_size=chunk_size, compression=CompressionType[compression.upper()]
        )
        self._writer.start('ros2', f'pdl_ros {__version__}')
        self._schemas: dict[tuple[str, Definition], int] = {}
        self._topics: list[tuple[WrittenTopic, int]] = []
        self.summary = FileSummary('')
        for topic in topics:
            self.add_topic(topic)

    def add_topic(self, topic: WrittenTopic) -> int:
        """Return the number of a new topic."""
        key = topic.type, topic.definition
        if key not in self._schemas:
            # None is numbered 0: it would be taken for a channel without a schema.
            self._schemas[key] = self._writer.register_schema(
                topic.type,
                topic.definition.encoding,
                topic.definition.text.encode(errors='surrogateescape'),
            )
        metadata = {'offered_qos_profiles': topic.qos_text()}
        metadata['topic_type_hash'] = topic.definition.type_hash
        channel = self._writer.register_channel(
            topic.name, topic.encoding, self._schemas[key], metadata
        )
        self._topics.append((topic, channel))
        self.summary.counts[topic] = 0
        return len(self._topics) - 1

    def write(
        self, topic: int, log_time: int, data: bytes, publish_time: int | None = None
    ) -> None:
        """Add a serialized message. Times in nanoseconds; published when it was logged, if None."""
        described, channel = self._topics[topic]
        published = log_time if publish_time is None else publish_time
        self._writer.add_message(channel, log_time, data, published)
        summary = self.summary
        summary.counts[described] += 1
        summary.start, summary.end = min(summary.start, log_time), max(summary.end, log_time)

    def end_chunk(self) -> None:
        """Write the chunk that is under way as it is."""
        self._writer.flush()

    def add_note(self, name: str, content: Mapping[str, str]) -> None:
        """Add a metadata record, which players pass over."""
        self._writer.add_metadata(name, dict(content))

    def flush(self) -> None:
        """End the chunk, so that what follows it comes after its messages."""
        self._writer.flush()

    def finish(self, name: str) -> FileSummary:
        """Write the index; the file, which stays open, is called `name` in its folder."""
        self.summary.name = name
        self.flush()  # before the record that describes it
        self.add_note('rosbag2', metadata_of_file(self.summary))
        self._writer.finish()
        self._file.flush()
        return self.summary


class BagWriter:
    """A new recording: a folder with metadata.yaml and one MCAP file, or several of a size.

    Use it as a context manager. A process that is killed leaves files that are whole up to their
    last chunk; `close` writes the index and metadata.yaml. max_bytes: a file that is larger is
    followed by another, as with ``ros2 bag record -b``; 0: there is one. Raises PdlError where the
    folder is there already, and where the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int = 0,
        compression: str = 'zstd',
        chunk_size: int = _CHUNK,
        custom: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.files = folder, list[FileSummary]()
        self._max_bytes, self._custom = max_bytes, custom
        self._compression, self._chunk_size = compression, chunk_size
        self._topics: list[WrittenTopic] = []
        with disk_errors_in_words(self.folder):
            if folder.exists():
                raise PdlError(f'{folder} is there already; give another folder.')
            folder.mkdir(parents=True)
            self._open()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:  # the disk may be full: what is on it stays
            with contextlib.suppress(OSError, PdlError):
                self.close()

    def add_topic(
        self,
        name: str,
        message_type: str,
        qos: OfferedQos | Sequence[OfferedQos] = RELIABLE,
        described: Definition | None = None,
        encoding: str = 'cdr',
    ) -> int:
        """Return the number of a new topic. message_type: ``package/msg/Name``.

        described: of a type that `bags.types` does not know. Raises PdlError without, for such one.
        """
        offered = (qos,) if isinstance(qos, OfferedQos) else tuple(qos)
        known = described or definition(message_type)
        topic = WrittenTopic(name, message_type, known, offered, encoding)
        with disk_errors_in_words(self.folder):
            self._topics.append(topic)
            return self._writer.add_topic(topic)

    def write(
        self, topic: int, log_time: int, data: bytes, publish_time: int | None = None
    ) -> None:
        """Add a serialized message to a topic. Times in nanoseconds."""
        with disk_errors_in_words(self.folder):
            if self._max_bytes and self._file.tell() >= self._max_bytes:
                self._finish()
                self._open()
            self._writer.write(topic, log_time, data, publish_time)

    def end_chunk(self) -> None:
        """Hand all that is written to the system, whatever the size of its chunk: what a process
        that is killed now leaves is whole up to here.
        """
        with disk_errors_in_words(self.folder):
            self._writer.end_chunk()
            self._file.flush()

    def flush(self) -> None:
        """Hand what is written, in whole chunks, to the system."""
        with disk_errors_in_words(self.folder):
            self._file.flush()

    def close(self) -> None:
        """Write the index and metadata.yaml; without effect the second time."""
        if self._file.closed:
            return
        with disk_errors_in_words(self.folder):
            self._finish()
            write_metadata(self.folder, self.files, self._custom)

    def _open(self) -> None:
        name = f'{self.folder.name}_{len(self.files)}.mcap'
        self._file = (self.folder / name).open('xb')
        self._writer = McapFileWriter(self._file, self._topics, self._compression, self._chunk_size)

    def _finish(self) -> None:
        try:
            self.files.append(self._writer.finish(Path(self._file.name).name))
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def write_metadata(
    folder: Path, files: Sequence[FileSummary], custom: Mapping[str, str] | None = None
) -> None:
    """Write metadata.yaml of the files of a folder."""
    with atomic_write(folder / METADATA) as file:
        file.write(metadata_text(files, custom).encode())


@contextlib.contextmanager
def disk_errors_in_words(path: Path) -> Iterator[None]:
    """Turn what the system refuses in a block into a PdlError that names the path."""
    try:
        yield
    except OSError as error:
        raise PdlError(f'{path} cannot be written: {os_error_reason(error)}.') from error
