"""Files that a user asks for: found impossible before the work, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pdl_ros.errors import PdlError, os_error_reason

PART = '.part'
"""What the name of a file that is not written to its end ends in."""


@contextlib.contextmanager
def atomic_write(path: Path, private: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that gets the name `path`, whole and on the disk, when the block ends.

    Missing folders are made. Whatever fails, the disk or the block itself, leaves the file that was
    there before and nothing else; what the system refuses is a PdlError. A link stays one, and what
    is no plain file (/dev/stdout) is written to as it is. `private`: for its owner alone, in the
    place of whatever else has that name.
    """
    target = path if private else Path(os.path.realpath(path))
    try:
        if not private and target.exists() and not target.is_file():
            with target.open('wb') as file:
                yield file
            return
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f'{target.name}.{secrets.token_hex(4)}{PART}')
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        handle = os.open(part, flags, 0o600 if private else 0o666)  # less the umask
        try:
            with open(handle, 'wb') as file:
                yield file
                file.flush()
                os.fsync(handle)
            os.replace(part, target)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise
    except OSError as error:
        raise PdlError(f'{path} cannot be written: {os_error_reason(error)}.') from error
    _sync_folder(target.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON for people and programs; NaN, which JSON has not, is a ValueError."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f'{text}\n'.encode())


def require_writable_file(path: Path) -> None:
    """Raise PdlError where a file could not be written, before the work for it begins."""
    if path.is_dir():
        raise PdlError(f'{path} is a folder; give the name of a file to write.')
    if not path.exists() or path.is_file():  # else a device or a pipe
        require_writable_folder(path.parent)


def require_writable_folder(folder: Path) -> None:
    """Raise PdlError where a folder could not be made or written to; nothing is made yet."""
    there = folder.absolute()
    try:
        while not _exists(there):
            there = there.parent
        if not there.is_dir():
            raise PdlError(f'{folder} cannot be a folder: {there} is none; give another.')
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b'x')  # a full disk has room for a name, but not for this
    except OSError as error:
        where = folder if there == folder.absolute() else f'{folder}, in {there},'
        raise PdlError(
            f'{where} cannot be written to: {os_error_reason(error)}; give another folder.'
        ) from None


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Have the new name survive a power failure, where the system can promise that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
