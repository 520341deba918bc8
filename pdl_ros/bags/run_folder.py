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
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pdl_ros import __version__
from pdl_ros.bags.metadata import FileSummary, WrittenTopic
from pdl_ros.bags.part_file import NOTE, PartNote, read_note, read_summary
from pdl_ros.bags.plan import Plan
from pdl_ros.bags.run_settings import RunSettings
from pdl_ros.bags.writer import METADATA, write_metadata
from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import atomic_write, require_writable_folder, write_json

_FROM_PLAN = ('engine', 'precision', 'batch')


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
            known = json.loads(custom[NOTE])
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
        write_metadata(self.path, files, {NOTE: json.dumps(about)})
        if complete:
            shutil.rmtree(self._run)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
