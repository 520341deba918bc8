"""The log of a training run: one CSV row a step."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any


class CsvLog:
    """Append rows to a CSV file; rows of steps after `step` (lost with a crash) are cut off
    first.
    """

    def __init__(self, path: Path, step: int) -> None:
        rows = list(csv.DictReader(path.open(newline=''))) if path.is_file() else []
        kept = [row for row in rows if int(row['step']) <= step]
        temporary = path.with_suffix('.tmp')
        with temporary.open('w', newline='') as file:
            if kept:
                writer = csv.DictWriter(file, list(kept[0]))
                writer.writeheader()
                writer.writerows(kept)
        os.replace(temporary, path)
        self._file = path.open('a', newline='')
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
        self._file.flush()
