"""The logs of a training: one CSV row a step, or a validation."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdl_ros.errors import PdlError, os_error_reason
from pdl_ros.runtime.files import atomic_write


class CsvLog:
    """Append rows to a CSV file; rows of steps after `step` (lost with a crash) are cut off
    first.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [row for row in _whole_rows(path) if int(row['step']) <= step]
        text = io.StringIO(newline='')
        if kept:
            writer = csv.DictWriter(text, list(kept[0]))
            writer.writeheader()
            writer.writerows(kept)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode())
        self._path, self._file = path, path.open('a', newline='', encoding='utf-8')
        self._empty = not kept

    def __enter__(self) -> CsvLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: dict[str, Any]) -> None:
        """Append one row; all rows have the same columns."""
        writer = csv.DictWriter(self._file, list(row))
        if self._empty:
            writer.writeheader()
            self._empty = False
        writer.writerow({k: f'{v:.6g}' if isinstance(v, float) else v for k, v in row.items()})
        with to_disk(self._path):
            self._file.flush()

    def sync(self) -> None:
        """Have all rows survive a power failure: a state must not be ahead of its log."""
        with to_disk(self._path):
            os.fsync(self._file.fileno())


@contextmanager
def to_disk(path: Path) -> Iterator[None]:
    """Raise PdlError that names `path` where what is written within this cannot be written."""
    try:
        yield
    except OSError as error:
        raise PdlError(
            f'{path} cannot be written: {os_error_reason(error)}; the training goes on '
            'from its last checkpoint when you run it again.'
        ) from None


def _whole_rows(path: Path) -> list[dict[str, str]]:
    """Read a log, without the half rows and zeros that a power failure may have left."""
    text = path.read_text('utf-8', 'replace') if path.is_file() else ''
    rows = csv.DictReader(io.StringIO(text.replace('\0', '')))
    return [row for row in rows if None not in row.values() and (row.get('step') or '').isdecimal()]
