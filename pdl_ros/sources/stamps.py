"""The table of stamps beside files that were made of a recording: which file is of which moment."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pdl_ros.errors import PdlError, os_error_reason, printable
from pdl_ros.runtime.files import atomic_write

STAMPS = 'stamps.csv'
_ROWS = 1 << 24


class StampRow(NamedTuple):
    """A file of a frame. stamp: of its header, and log_time: of its recording, in nanoseconds."""

    stamp: int
    frame_id: str
    log_time: int
    file: str


def write_stamps(folder: Path, rows: Iterable[StampRow]) -> None:
    """Write ``stamps.csv`` into a folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(StampRow._fields)
    writer.writerows(rows)
    with atomic_write(folder / STAMPS) as file:
        file.write(text.getvalue().encode())


def read_stamps(folder: Path) -> list[StampRow]:
    """Read ``stamps.csv`` of a folder. Only `stamp` and `file` have to be there. Raises PdlError
    with the line that is wrong.
    """
    path = folder / STAMPS
    rows: list[StampRow] = []
    try:
        with path.open(newline='', encoding='utf-8') as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                try:
                    stamp, log_time = int(row['stamp']), int(row.get('log_time') or row['stamp'])
                    rows.append(StampRow(stamp, row.get('frame_id') or '', log_time, row['file']))
                    in_range = abs(stamp) < 1 << 63
                except (KeyError, TypeError, ValueError):
                    in_range = False
                if not in_range or not row['file'] or number > _ROWS:
                    shown = printable(','.join(str(cell) for cell in row.values())[:80])
                    raise PdlError(
                        f'{path}, line {number}: {shown!r} has no stamp in nanoseconds and file.'
                    )
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {os_error_reason(error)}.') from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise PdlError(f'{path} is no table of stamps ({error}).') from None
    return rows
