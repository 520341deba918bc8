"""What took long to make is kept in the user's cache folder, and believed only when it proves to be
what was asked for.

A file is a magic line, a line of JSON that says what the content is (its facts), the content, and
the SHA-256 of all that. TensorRT engines and compiled kernels are code, so the folder is made for
its owner only, and a file that others own or may write is refused unread.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from pdl_ros.errors import PdlError, os_error_reason
from pdl_ros.runtime.files import PART, atomic_write

Facts = Mapping[str, str]
"""Everything that content depends on: other facts, another file."""

_LOG = logging.getLogger('pdl_ros.runtime')
_MAGIC = b'pdl_ros cache 1\n'
_DIGEST = hashlib.sha256().digest_size
_told: set[Path] = set()  # folders of which was said that they cannot be used


def cache_folder() -> Path:
    """Return the folder: PDL_ROS_CACHE where it is set, else pdl_ros in the user's cache, else, for
    a user without a home, one in the folder of temporary files.
    """
    own = os.environ.get('PDL_ROS_CACHE')
    if own:
        return Path(os.path.expanduser(own))
    with suppress(RuntimeError):  # without a home newer versions raise, older ones give '~/.cache'
        folder = user_cache_path('pdl_ros', appauthor=False)
        if folder.is_absolute():
            return folder
    try:
        temporary = tempfile.gettempdir()
    except OSError:  # no folder can be written, which costs time only
        temporary = '/tmp'
    return Path(temporary, f'pdl_ros-{os.geteuid()}')


def cache_file(facts: Facts) -> Path:
    """Return where the content with these facts is kept; `facts['what']` leads the file's name."""
    return cache_folder() / f'{facts["what"]}-{hashlib.sha256(_head(facts)).hexdigest()[:32]}'


def load(facts: Facts) -> bytes | None:
    """Return the content with exactly these facts, or None, with a warning unless there is simply
    no such file.
    """
    path = cache_file(facts)
    try:
        return _content(_read(path), facts)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _warn_once(path.parent, '%s cannot be read (%s); it is made anew.', path, error.strerror)
    except PdlError as error:
        _LOG.warning('%s %s; it is made anew.', path, error)
    return None


def store(facts: Facts, content: bytes) -> Path | None:
    """Keep content for `load`; return its file, or None, with a warning the first time, where that
    cannot be.

    Another process sees the old file or the new one, never a part; of two that write at once the
    later one stays.
    """
    path = cache_file(facts)
    head = _head(facts)
    digest = hashlib.sha256(head)
    digest.update(content)
    try:
        _make_private(path.parent)
        with atomic_write(path, private=True) as file:
            file.writelines((head, content, digest.digest()))
    except PdlError as error:
        _warn_once(
            path.parent,
            '%s This run goes on, the next one makes it again; set PDL_ROS_CACHE to a folder that '
            'can be written.',
            error,
        )
        return None
    return path


def replace(facts: Facts, content: bytes, keep: int = 1) -> Path | None:
    """Keep content as `store` does, and of all that was kept as this `what` the last `keep`."""
    path = store(facts, content)
    if path is not None:
        with suppress(OSError):  # another process removes them too
            found = path.parent.glob(f'{facts["what"]}-*')
            # Parts are what other processes are writing.
            others = [p for p in found if p != path and p.suffix != PART]
            others.sort(key=lambda p: p.stat().st_mtime, reverse=True)
            for other in others[keep - 1 :]:
                other.unlink()
    return path


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PdlError(f'{folder} cannot be written: {os_error_reason(error)}.') from None


def _warn_once(folder: Path, message: str, *values: object) -> None:
    if folder not in _told:
        _told.add(folder)
        _LOG.warning(message, *values)


def _head(facts: Facts) -> bytes:
    return _MAGIC + json.dumps(dict(facts), sort_keys=True).encode() + b'\n'


def _read(path: Path) -> bytes:
    # Not blocking: somebody may have put a pipe there.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(handle, 'rb') as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise PdlError('is no file')
        if status.st_uid not in (os.geteuid(), 0):
            raise PdlError('belongs to another user')
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PdlError('may be written by other users')
        return file.read()


def _content(data: bytes, facts: Facts) -> bytes:
    """Take a file's content out, or raise PdlError with the end of a sentence about the file."""
    if not data.startswith(_MAGIC):
        raise PdlError('is not a file of this cache')
    whole = memoryview(data)
    if hashlib.sha256(whole[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise PdlError('is damaged or incomplete')
    head = _head(facts)
    if not data.startswith(head):
        raise PdlError('was made for something else')
    return bytes(whole[len(head) : -_DIGEST])
