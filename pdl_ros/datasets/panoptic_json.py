"""COCO's panoptic format: a JSON file of segments, and PNGs whose colours are their ids.

Cityscapes' and Mapillary's own scripts write the same. https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from pdl_ros.datasets.source import SourceLabels, SourceSegment, inside, read_json
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import read_samples
from pdl_ros.labels import SourceClass

LAYOUT = 'COCO panoptic'


class PanopticJson:
    """A source out of a panoptic JSON file and the folder of its PNGs.

    find_image: from the `id` and the `file_name` of an image to its path. Of the JSON no more is
    kept than a few numbers a segment.
    """

    def __init__(
        self,
        file: Path,
        find_image: Callable[[str, str], Path],
        pngs: Path | None = None,
        layout: str = LAYOUT,
    ) -> None:
        self.layout, self.where, self._file = layout, str(file), file
        self._pngs = pngs or file.with_suffix('')
        data = read_json(file)
        try:
            self.classes = classes_of(data['categories'])
            images = {i['id']: str(i['file_name']) for i in data['images']}
            rows = sorted(data['annotations'], key=lambda a: str(a['file_name']))
            files = [images[a['image_id']] for a in rows]
            self._images = [
                find_image(str(a['image_id']), f) for a, f in zip(rows, files, strict=True)
            ]
            self._labels = [str(a['file_name']) for a in rows]
            infos = [a['segments_info'] for a in rows]
            self._ends = list(accumulate((len(i) for i in infos), initial=0))
            table = [(s['id'], s['category_id'], s.get('iscrowd', 0)) for i in infos for s in i]
            self._segments = np.array(table, np.int32).reshape(-1, 3)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise PdlError(
                f'{file} is no panoptic JSON of COCO: {type(error).__name__} {error}.'
            ) from None
        self.names = [path.stem for path in self._images]
        used = set(self._segments[:, 1].tolist())
        self.classes = tuple(c._replace(is_ignored=c.id not in used) for c in self.classes)

    def image(self, index: int) -> Path:
        return self._images[index]

    def label_file(self, index: int) -> Path:
        return inside(self._pngs, self._labels[index])

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        file = self.label_file(index)
        pixels = read_samples(file)
        if pixels.ndim != 3 or pixels.dtype != np.uint8:
            raise PdlError(f"{file} must be an RGB PNG of COCO's panoptic format.")
        rows = self._segments[self._ends[index] : self._ends[index + 1]]
        segments = tuple(SourceSegment(v, c, bool(crowd)) for v, c, crowd in rows.tolist())
        red, green, blue = (pixels[..., c].astype(np.int32) for c in range(3))
        values = red + (green << 8) + (blue << 16)
        self._check(file, values, [s.value for s in segments])
        return SourceLabels(values, segments, unlabelled=0)

    def _check(self, file: Path, values: np.ndarray, listed: Sequence[int]) -> None:
        if len(set(listed)) != len(listed):
            twice = next(v for v in listed if listed.count(v) > 1)
            raise PdlError(f'{self._file} lists segment {twice} of {file.name} twice.')
        unknown = sorted(set(np.unique(values).tolist()) - {0, *listed})
        if unknown:
            raise PdlError(
                f'{file} holds {len(unknown)} ids that {self._file.name} does not list, the first '
                f'is {unknown[0]}.'
            )


def classes_of(categories: Sequence[dict[str, Any]]) -> tuple[SourceClass, ...]:
    """Return the classes of the `categories` of a JSON file in COCO's form."""
    return tuple(
        SourceClass(
            int(c['id']),
            str(c['name']),
            bool(c.get('isthing', 1)),
            _color(c['color']) if c.get('color') else None,
        )
        for c in categories
    )


def _color(value: Sequence[Any]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in value)
    return red, green, blue
