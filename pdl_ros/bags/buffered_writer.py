"""Between whoever receives messages and the disk: a buffer of so many bytes, and a thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pdl_ros.bags.qos import OfferedQos
from pdl_ros.bags.types import Definition
from pdl_ros.bags.writer import BagWriter
from pdl_ros.errors import PdlError

_UNSAVED = 1.0  # seconds of messages that a process that is killed may lose
_OVERHEAD = 200  # bytes that a waiting message takes beside its data


class _Waiting(NamedTuple):
    topic: int
    log_time: int
    publish_time: int
    data: bytes


class BufferedWriter:
    """Write messages to a recording in a thread, so that receiving them never waits for the disk.

    What does not fit into `max_bytes` of memory is dropped and counted, in `dropped` by topic name;
    `written` counts the others, and `written_bytes` what they hold. `failure`: why the thread
    ended, as with a full disk; all that comes later is dropped.
    """

    def __init__(self, writer: BagWriter, max_bytes: int) -> None:
        self._writer, self._max_bytes = writer, max_bytes
        self.dropped: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.written_bytes = 0
        self.failure: PdlError | None = None
        self._names: list[str] = []
        self._jobs: deque[Callable[[], None] | _Waiting] = deque()
        self._bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='bag_writer', daemon=True)
        self._thread.start()

    def add_topic(
        self, name: str, message_type: str, qos: Sequence[OfferedQos], described: Definition
    ) -> int:
        """Return the number of a new topic."""
        self._names.append(name)
        self._do(lambda: self._add(name, message_type, qos, described))
        return len(self._names) - 1

    def put(self, topic: int, log_time: int, data: bytes, publish_time: int | None = None) -> bool:
        """Take a message; False where it is dropped, for there is no room. Times in nanoseconds."""
        size = len(data) + _OVERHEAD
        with self._changed:
            if self.failure or self._closing or self._bytes + size > self._max_bytes:
                self.dropped[self._names[topic]] += 1
                return False
            self._bytes += size
            published = log_time if publish_time is None else publish_time
            self._jobs.append(_Waiting(topic, log_time, published, data))
            self._changed.notify()
        return True

    def close(self) -> None:
        """Write what waits, the index and metadata.yaml. Raises PdlError where writing failed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        if self.failure:
            raise self.failure

    def _do(self, job: Callable[[], None]) -> None:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()

    def _add(
        self, name: str, message_type: str, qos: Sequence[OfferedQos], described: Definition
    ) -> None:
        self._writer.add_topic(name, message_type, qos, described)

    def _run(self) -> None:
        try:
            with self._writer:
                self._write_all()
        except PdlError as error:
            self.failure = error
            with self._changed:
                for job in self._jobs:
                    if isinstance(job, _Waiting):
                        self.dropped[self._names[job.topic]] += 1
                self._jobs.clear()
                self._bytes = 0

    def _write_all(self) -> None:
        saved = time.monotonic()
        while True:
            with self._changed:
                if not self._jobs and not self._closing:
                    self._changed.wait(_UNSAVED)
                job = self._jobs.popleft() if self._jobs else None
                ended = self._closing and job is None
            if ended:
                return
            if isinstance(job, _Waiting):
                self._write(job)
            elif job is not None:
                job()
            if time.monotonic() - saved > _UNSAVED:
                self._writer.end_chunk()
                saved = time.monotonic()

    def _write(self, message: _Waiting) -> None:
        try:
            self._writer.write(message.topic, message.log_time, message.data, message.publish_time)
        except PdlError:
            self.dropped[self._names[message.topic]] += 1
            raise
        self.written[self._names[message.topic]] += 1
        self.written_bytes += len(message.data)
        with self._changed:
            self._bytes -= len(message.data) + _OVERHEAD
