"""A folder of label images that are named by their stamps, or listed with them in stamps.csv."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pdl_ros.datasets.label_folder import LABELS
from pdl_ros.datasets.source import leads_out
from pdl_ros.errors import PdlError, os_error_reason, printable
from pdl_ros.evaluation.recordings.frames import Labels, Numbers
from pdl_ros.imaging.label_images import png_to_labels
from pdl_ros.labels import LabelSet
from pdl_ros.sources.stamps import STAMPS, read_stamps

_PANOPTIC, _SEMANTIC = '_panoptic.png', '_semantic.png'
_NAME = re.compile(r'(-?\d{1,19})(?:[_.](\d{1,9}))?(?:_panoptic)?\.png', re.ASCII | re.IGNORECASE)


class LabelFiles:
    """PNGs named ``<nanoseconds>.png``, ``<seconds>_<nanoseconds>.png`` or what stamps.csv lists,
    as `pdl_ros infer BAG:/topic` writes them, with labels.yaml, their label set, and for each the
    scores of its things in a JSON file and its semantic map in ``..._semantic.png``.
    """

    def __init__(self, folder: Path) -> None:
        self.where, self.notes = str(folder), list[str]()
        found = _listed(folder) if (folder / STAMPS).is_file() else _named(folder)
        self._files = [path for _, path in found]
        self.stamps = np.array([stamp for stamp, _ in found], np.int64)
        own = folder / LABELS
        self.label_set = LabelSet.load(own) if own.is_file() else None
        missing = [path for path in self._files if not path.is_file()]
        if missing:
            raise PdlError(f'{folder / STAMPS} lists {missing[0].name}, which is not there.')
        self.has_scores = _beside(self._files[0], '.json').is_file()
        self.has_semantic = _beside(self._files[0], _SEMANTIC).is_file()

    @property
    def is_whole(self) -> bool:
        return True

    def load(self, numbers: Numbers) -> Iterator[Callable[[], Labels]]:
        """Yield what reads each file, in any thread."""
        for number in numbers:
            yield functools.partial(self._read, self._files[number])

    def _read(self, path: Path) -> Labels:
        return Labels(
            _read_png(path),
            _read_png(_beside(path, _SEMANTIC)) if self.has_semantic else None,
            _scores(_beside(path, '.json')) if self.has_scores else None,
        )


def _named(folder: Path) -> list[tuple[int, Path]]:
    try:
        names = [path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name)]
    except OSError as error:
        raise PdlError(f'{folder} cannot be read: {os_error_reason(error)}.') from None
    if not names:
        raise PdlError(
            f'{folder} holds no label image whose name is a stamp (<nanoseconds>.png or '
            f'<seconds>_<nanoseconds>.png), and no {STAMPS} that says what they are of.'
        )
    return [(_stamp(path), path) for path in names]


def _stamp(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match
    whole, rest = match.groups()
    stamp = int(whole) if rest is None else int(whole) * 10**9 + int(rest)
    if abs(stamp) >= 1 << 63:
        raise PdlError(f'{path} is named by no time that a stamp can hold.')
    return stamp


def _listed(folder: Path) -> list[tuple[int, Path]]:
    rows = read_stamps(folder)
    for row in rows:
        if leads_out(row.file):
            raise PdlError(
                f'{folder / STAMPS} names the file {printable(row.file[:80])!r}, which is not '
                'within its folder.'
            )
    if not rows:
        raise PdlError(f'{folder / STAMPS} lists no file.')
    return [(row.stamp, folder / row.file) for row in rows]


def _beside(path: Path, end: str) -> Path:
    return path.with_name(f'{path.name.removesuffix(_PANOPTIC).removesuffix(".png")}{end}')


def _read_png(path: Path) -> np.ndarray:
    try:
        return png_to_labels(path.read_bytes(), str(path))
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {os_error_reason(error)}.') from None


def _scores(path: Path) -> dict[int, float]:
    try:
        rows = json.loads(path.read_bytes())
        return {int(r['id']): float(r['score']) for r in rows if r['is_thing']}
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {os_error_reason(error)}.') from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise PdlError(f'{path} is no list of segments, as `pdl_ros infer` writes it.') from None
