"""COCO's instance format: a JSON file of polygons and run lengths, as labelling tools write it.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pdl_ros.datasets.panoptic_json import classes_of
from pdl_ros.datasets.polygons import Instance, Mask, paint, polygon_mask, run_length_mask
from pdl_ros.datasets.source import SourceLabels, read_json
from pdl_ros.errors import PdlError

LAYOUT = 'COCO instances'


class CocoInstances:
    """A source out of a JSON file of instances.

    find_image: from the `id` and the `file_name` of an image to its path. semantic: the folder of
    8-bit PNGs of the stuff, NAME.png for NAME.jpg, which may be missing.
    """

    layout = LAYOUT

    def __init__(self, file: Path, find_image: Callable[[str, str], Path], semantic: Path) -> None:
        self.where, self._file, self._semantic = str(file), file, semantic
        data = read_json(file)
        by_image = defaultdict[Any, list[tuple[int, bool, Any]]](list)
        try:
            for a in data['annotations']:
                row = (int(a['category_id']), bool(a.get('iscrowd', 0)), _compact(a))
                by_image[a['image_id']].append(row)
            rows = sorted(
                (str(i['file_name']), i['id'], (int(i['height']), int(i['width'])))
                for i in data['images']
            )
            classes = classes_of(data['categories'])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PdlError(
                f"{file} is no JSON of instances in COCO's form: {type(error).__name__} {error}."
            ) from None
        used = {row[0] for found in by_image.values() for row in found}
        self.classes = tuple(c._replace(is_ignored=c.id not in used) for c in classes)
        self._images = [find_image(str(image), name) for name, image, _ in rows]
        self._sizes = [size for _, _, size in rows]
        self._instances = [by_image.get(image, []) for _, image, _ in rows]
        self.names = [path.stem for path in self._images]

    def image(self, index: int) -> Path:
        return self._images[index]

    def label_file(self, index: int) -> Path:
        return self._file

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        where = f'{self._file}, image {self._images[index].name}'
        instances = [
            Instance(class_id, is_crowd, partial(_draw, parts))
            for class_id, is_crowd, parts in self._instances[index]
        ]
        png = self._semantic / f'{self.names[index]}.png'
        if self._sizes[index] not in (size, size[::-1]):
            told = self._sizes[index]
            raise PdlError(
                f'{where}: it says {told[1]}x{told[0]}, but the picture is {size[1]}x{size[0]}.'
            )
        return paint(instances, self._sizes[index], png, where)


def _compact(annotation: dict[str, Any]) -> Any:
    """Return a segmentation as arrays of (N, 2) corners, a tenth of Python's numbers, or as it is
    where it is run lengths.
    """
    parts = annotation.get('segmentation') or []
    if isinstance(parts, dict):
        return parts
    polygons = [np.asarray(part, np.float64).reshape(-1, 2) for part in parts]
    if not polygons:
        raise ValueError(
            f'annotation {annotation.get("id")} has no segmentation, only a box; label masks'
        )
    return polygons


def _draw(parts: Any, size: tuple[int, int]) -> list[Mask]:
    if isinstance(parts, dict):
        return [run_length_mask(parts, size)]
    return [polygon_mask(corners, size) for corners in parts]
