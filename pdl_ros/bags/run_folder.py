"""The folder of a result while it is made: which parts are whole, and what the next ones need.

A part is written under another name, and has its own only when it is on the disk as a whole. So a
run that was killed goes on after its last whole part, with nothing to clean up but its folder
`.run`.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import yaml

from pdl_ros import __version__
from pdl_ros.bags.metadata import FileSummary, WrittenTopic
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.run_settings import RunSettings
from pdl_ros.bags.writer import METADATA, McapFileWriter, write_metadata
from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import atomic_write, require_writable_folder, write_json

_NOTE = 'pdl_ros'
_FROM_PLAN = ('engine', 'precision', 'batch')
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


class RunFolder:
    """The folder of a plan's result; `open` makes it, or goes on with it."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.path = plan, plan.job.target
        self._run = self.path / '.run'
        self._file = self._run / 'run.json'

    def check(self) -> None:
        """Raise PdlError where the folder is there and holds something else; nothing is made."""
        if not self.path.exists() or not any(self.path.iterdir()):
            require_writable_folder(self.path)
        elif not self._is_ours():
            raise PdlError(
                f'{self.path} is there already, and is not the result of this recording with these '
                'settings; give another folder.'
            )

    def open(self) -> None:
        """Make the folder, or go on with it; raise PdlError as `check` does."""
        self.check()
        self._run.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            self._describe(self.plan.settings)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep another process from writing the same result meanwhile."""
        with (self._run / 'lock').open('w') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise PdlError(f'{self.path} is being written by another process.') from None
            yield

    def _is_ours(self) -> bool:
        if self._file.is_file():
            return bool(_read_json(self._file).get('fingerprint') == self.plan.fingerprint)
        return self.is_complete()

    def is_complete(self) -> bool:
        """Tell whether the result is there as a whole."""
        try:
            text = (self.path / METADATA).read_bytes()
            custom = yaml.safe_load(text)['rosbag2_bagfile_information']['custom_data']
            known = json.loads(custom[_NOTE])
        except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError):
            return False
        same = known.get('fingerprint') == self.plan.fingerprint
        return bool(same and known.get('complete') and not self._file.exists())

    def settings(self) -> RunSettings:
        """Return the settings with the engine that the first parts were made with."""
        known = _read_json(self._file)
        given = asdict(self.plan.settings)
        given.update({name: known[name] for name in _FROM_PLAN if name in known})
        return RunSettings(**{**given, 'topics': tuple(given['topics'])})

    def keep_settings(self, settings: RunSettings) -> None:
        """Keep with which engine parts are made, for a run that goes on."""
        self._describe(settings)

    def _describe(self, settings: RunSettings) -> None:
        chosen = {name: getattr(settings, name) for name in _FROM_PLAN}
        write_json(self._file, {'fingerprint': self.plan.fingerprint, **chosen})

    def missing(self) -> list[int]:
        """Return the parts that are still to be made."""
        parts = range(len(self.plan.parts))
        return [part for part in parts if not self.plan.part_file(part).is_file()]

    def finished(self) -> list[PartNote]:
        """Return what the parts that are whole say of themselves."""
        parts = range(len(self.plan.parts))
        files = [self.plan.part_file(part) for part in parts]
        return [read_note(file) for file in files if file.is_file()]

    def state_after(self, part: int) -> Mapping[str, np.ndarray] | None:
        """Return what was kept with a part for the next one; None where it is not there."""
        try:
            with np.load(self._state(part), allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError):
            return None

    def keep_state(self, part: int, state: Mapping[str, np.ndarray]) -> None:
        """Keep what the next part depends on."""
        content = io.BytesIO()
        np.savez(content, **dict(state))  # type: ignore[arg-type]
        with atomic_write(self._state(part)) as file:
            file.write(content.getvalue())
        self._state(part - 2).unlink(missing_ok=True)

    def _state(self, part: int) -> Path:
        return self._run / f'state_{part}.npz'

    def describe_parts(self, topics: list[WrittenTopic], complete: bool) -> None:
        """Write metadata.yaml of the parts that are whole; `complete`: the last thing to do."""
        notes, files = self.finished(), list[FileSummary]()
        for part in range(len(self.plan.parts)):
            if (file := self.plan.part_file(part)).is_file():
                files.append(read_summary(file, topics))
        about = {
            'fingerprint': self.plan.fingerprint,
            'complete': complete,
            'version': __version__,
            'source': self.plan.job.source.name,
            'weights': Path(self.plan.settings.weights).name,
            **{name: getattr(self.settings(), name) for name in _FROM_PLAN},
            'frames': sum(note.frames for note in notes),
            'lost': sum(note.lost for note in notes),
        }
        write_metadata(self.path, files, {_NOTE: json.dumps(about)})
        if complete:
            shutil.rmtree(self._run)


class PartFile:
    """A part that is being written."""

    def __init__(self, folder: RunFolder, part: int, topics: list[WrittenTopic]) -> None:
        self._folder, self._target = folder, folder.plan.part_file(part)
        self._path = self._target.with_name(f'{self._target.name}.part')
        self._file: BinaryIO = self._path.open('wb')
        self.writer = McapFileWriter(self._file, topics)
        self.note = PartNote(folder.plan.fingerprint, part)
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
        self.writer.add_note(_NOTE, content)
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
            (record,) = (record for record in records if record.name == _NOTE)
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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
