"""Which files make up a recording."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath

import yaml

from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import IMAGE_SUFFIXES

_LOG = logging.getLogger('pdl_ros.bags')
_NAME = re.compile(r'[^.].*\.(mcap|db3|bag)(\.active)?(\.zstd?)?', re.IGNORECASE)
_PACKED = re.compile(r'\.zstd?$', re.IGNORECASE)
_KEY = 'rosbag2_bagfile_information'
_METADATA_BYTES = 1 << 22


def is_bag(path: Path) -> bool:
    """Tell whether a path is that of a recording: an mcap, db3 or bag file, or a folder of them.

    A folder of pictures in which a recording lies too is one of pictures, unless rosbag2 described
    it in metadata.yaml.
    """
    if not path.is_dir():
        return bool(_NAME.fullmatch(path.name)) and path.is_file()
    try:
        with (path / 'metadata.yaml').open('rb') as file:
            if _KEY.encode() in file.read(4096):
                return True
    except OSError:
        pass
    suffixes = {entry.suffix.lower() for entry in path.iterdir()}
    return bool(_found(path)) and suffixes.isdisjoint(IMAGE_SUFFIXES)


def data_files(path: Path) -> tuple[list[Path], str]:
    """Return the files of a recording in order: those that metadata.yaml lists, if all are there;
    and what is known to be missing, in a sentence, '' for nothing.

    If not all are there, those that the folder has: the recorder was killed before it wrote
    metadata.yaml, or somebody renamed files. Raises PdlError where a listed file is outside of the
    folder, or none is there.
    """
    if path.is_file():
        return [path], ''
    listed = _listed(path)
    missing = [file.name for file in listed if not file.is_file()]
    if listed and not missing:
        return listed, ''
    found = _found(path)
    if not found:
        raise PdlError(f'{path} cannot be read as a rosbag: it has no .mcap, .db3 or .bag file.')
    sentence = ''
    if missing:
        sentence = (
            f'{path}: metadata.yaml lists files that are not there ({", ".join(missing)[:200]}); '
            f'those there are read: {len(found)}.'
        )
        _LOG.warning('%s', sentence)
    # As many as are listed were renamed, and none is lost.
    return found, sentence if len(found) < len(listed) else ''


def _found(folder: Path) -> list[Path]:
    """Return the files that look like parts of a recording, `_2` before `_10`."""
    names = {
        file.name for file in folder.iterdir() if _NAME.fullmatch(file.name) and file.is_file()
    }
    # One that somebody unpacked and kept is there twice.
    twice = {name for name in names if _PACKED.search(name) and _PACKED.sub('', name) in names}
    return [folder / name for name in sorted(names - twice, key=_natural)]


def _listed(folder: Path) -> list[Path]:
    """Return the files that metadata.yaml lists, none if it cannot be read.

    Only the last part of their paths counts: early versions put that of the folder before it.
    """
    try:
        with (folder / 'metadata.yaml').open('rb') as file:
            text = file.read(_METADATA_BYTES + 1)
        if len(text) > _METADATA_BYTES:
            raise ValueError(f'it has more than {_METADATA_BYTES} bytes')
        paths = [PurePosixPath(name) for name in yaml.safe_load(text)[_KEY]['relative_file_paths']]
    except FileNotFoundError:
        _LOG.warning('%s has no metadata.yaml; all data files in it are read.', folder)
        return []
    except (OSError, yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        _LOG.warning('%s: metadata.yaml cannot be read (%s); all data files are.', folder, reason)
        return []
    for path in paths:
        outside = path.is_absolute() or '..' in path.parts
        if not path.name or (outside and not (folder / path.name).is_file()):
            raise PdlError(
                f'{folder} cannot be read as a rosbag: metadata.yaml lists '
                f'{str(path)[:200]!r}, which is outside of its folder; correct relative_file_paths.'
            )
    return [folder / path.name for path in paths]


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key by which numbers in names are ordered as numbers."""
    return [
        (int(part), '') if part.isdigit() else (-1, part)
        for part in re.split(r'(\d{1,18})', name, flags=re.ASCII)
    ]
