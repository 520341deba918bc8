"""One part of a result: an MCAP file that says of itself what it lacks."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from pdl_ros.bags.metadata import FileSummary, WrittenTopic
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.writer import McapFileWriter
from pdl_ros.errors import PdlError

NOTE = 'pdl_ros'
"""The name under which files, and metadata.yaml, have what was written by this package."""
_MOST_SENTENCES = 20


@dataclass
class PartNote:
    """What a part says of itself. lost: images that could not be segmented; sentences: why, of the
    first; notes: what images are without. earlier, equal: stamps that are not after the one before.
    """

    fingerprint: str
    part: int
    frames: int = 0
    lost: int = 0
    earlier: int = 0
    equal: int = 0
    sentences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_lost(self, sentence: str) -> None:
        """Note an image that could not be segmented."""
        self.lost += 1
        if len(self.sentences) < _MOST_SENTENCES:
            self.sentences.append(sentence)


class PartFile:
    """A part that is being written."""

    def __init__(self, plan: Plan, part: int, topics: list[WrittenTopic]) -> None:
        self._target = plan.part_file(part)
        self._path = self._target.with_name(f'{self._target.name}.part')
        self._file: BinaryIO = self._path.open('wb')
        self.writer = McapFileWriter(self._file, topics)
        self.note = PartNote(plan.fingerprint, part)
        self._stamps: dict[int, tuple[int, int]] = {}

    def note_frame(self, camera: int, stamp: tuple[int, int]) -> None:
        """Count a frame and look whether its stamp is after that of the one before."""
        before = self._stamps.get(camera)
        self._stamps[camera] = stamp
        self.note.frames += 1
        if before is not None:
            self.note.earlier += stamp < before
            self.note.equal += stamp == before

    def finish(self) -> None:
        """Put the part on the disk and give it its name."""
        content = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in asdict(self.note).items()
        }
        self.writer.flush()
        self.writer.add_note(NOTE, content)
        self.writer.finish(self._target.name)
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, self._target)

    def drop(self) -> None:
        """Remove what there is of it, as the disk has no room for the rest."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def read_note(file: Path) -> PartNote:
    """Return what a part says of itself. Raises PdlError where that is not a part."""
    from mcap.exceptions import McapError
    from mcap.reader import make_reader

    try:
        with file.open('rb') as stream:
            records = make_reader(stream).iter_metadata()
            (record,) = (record for record in records if record.name == NOTE)
        known: dict[str, Any] = {
            name: value if name == 'fingerprint' else json.loads(value)
            for name, value in record.metadata.items()
        }
        return PartNote(**known)
    except (OSError, McapError, ValueError, TypeError) as error:
        raise PdlError(f'{file} is no whole part of a result ({error}); remove it.') from None


def read_summary(file: Path, topics: list[WrittenTopic]) -> FileSummary:
    """Return what a part of a result holds, of these topics in their order."""
    from mcap.reader import make_reader

    with file.open('rb') as stream:
        summary = make_reader(stream).get_summary()
    assert summary is not None and summary.statistics is not None
    statistics = summary.statistics
    named = {channel.topic: number for number, channel in summary.channels.items()}
    counts = {
        topic: statistics.channel_message_counts.get(named[topic.name], 0) for topic in topics
    }
    found = FileSummary(file.name, counts=counts)
    if statistics.message_count:
        found.start, found.end = statistics.message_start_time, statistics.message_end_time
    return found
