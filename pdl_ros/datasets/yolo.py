"""YOLO's segmentation layout: a text file of polygons beside each picture, and a YAML of names.

https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pdl_ros.datasets.polygons import Instance, Mask, paint, polygon_mask
from pdl_ros.datasets.source import SourceLabels
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.imaging.files import list_images
from pdl_ros.labels import SourceClass

LAYOUT = 'YOLO polygons'
_YAMLS = ('data.yaml', 'dataset.yaml', 'data.yml', 'dataset.yml')
_SPLITS = ('train', 'val', 'test')


class YoloPolygons:
    """The source of a folder with data.yaml, ``.../images/...`` and ``.../labels/...``.

    A line of a text file is a class and the corners of its polygon, x and y in parts of the width
    and height of the picture as viewers show it. A picture without a text file has no things.
    semantic: as `CocoInstances` has it.
    """

    layout = LAYOUT

    def __init__(self, root: Path, split: str, semantic: Path) -> None:
        config = _config(root)
        self.where, self._semantic = str(root), semantic
        self._images = _folder(root, config, split)
        self._labels = _beside(self._images)
        require(self._labels.is_dir(), f'No folder {self._labels} with the labels of YOLO.')
        self.classes = tuple(SourceClass(i, name) for i, name in _names(config, root))
        self._files = [p.name for p in list_images(self._images)]
        self.names = [Path(f).stem for f in self._files]

    def image(self, index: int) -> Path:
        return self._images / self._files[index]

    def label_file(self, index: int) -> Path | None:
        file = self._labels / f'{self.names[index]}.txt'
        return file if file.is_file() else None

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        file = self.label_file(index)
        try:
            text = file.read_text(encoding='utf-8') if file else ''
            lines = [(n, _row(line)) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        except (OSError, ValueError) as error:
            raise PdlError(f'{file} cannot be read: {printable(str(error))}.') from None
        instances = []
        for number, (class_id, corners) in lines:
            if len(corners) < 3:
                raise PdlError(
                    f"{file}, line {number}, is a box, not a polygon; label masks (YOLO's segment "
                    'task), not boxes.'
                )
            instances.append(Instance(class_id, False, partial(_draw, corners)))
        return paint(instances, size, self._semantic / f'{self.names[index]}.png', str(file))


def splits(root: Path) -> list[str]:
    """Return the splits that a YAML names and whose folders are there; none where there is none."""
    if not any((root / name).is_file() for name in _YAMLS):
        return []
    config = _config(root)
    return [
        s
        for s in _SPLITS
        if config.get(s)
        and _beside(folder := _folder(root, config, s)) != folder
        and folder.is_dir()
    ]


def _config(root: Path) -> dict[str, Any]:
    file = next(root / name for name in _YAMLS if (root / name).is_file())
    try:
        config = yaml.safe_load(file.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise PdlError(f'{file} is not valid YAML: {" ".join(str(error).split())}.') from None
    return config if isinstance(config, dict) and 'names' in config else {}


def _folder(root: Path, config: dict[str, Any], split: str) -> Path:
    """Return the folder of a split's pictures: as the YAML says or, where tools have written a path
    of another place into it, the usual one.
    """
    told = config.get(split)
    if not isinstance(told, str):
        raise PdlError(f'The YAML in {root} names no folder of images for {split!r}.')
    base = Path(str(config.get('path') or '.'))
    usual = [f'images/{split}', f'{split}/images', *(['valid/images'] if split == 'val' else [])]
    for place in (str(base / told), told, told.lstrip('./'), *usual):
        if (root / place).is_dir():
            return root / place
    return root / told


def _beside(images: Path) -> Path:
    """Return the folder of labels: the last `images` of the path is `labels` in it."""
    parts = list(images.parts)
    for i in reversed(range(len(parts))):
        if parts[i] == 'images':
            return Path(*parts[:i], 'labels', *parts[i + 1 :])
    return images


def _names(config: dict[str, Any], root: Path) -> list[tuple[int, str]]:
    names = config.get('names')
    try:
        pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
        return [(int(i), str(name)) for i, name in pairs]
    except (TypeError, ValueError):
        raise PdlError(
            f'The names in the YAML in {root} are neither a list nor numbered.'
        ) from None


def _row(line: str) -> tuple[int, np.ndarray]:
    first, *numbers = line.split()
    if len(numbers) % 2:
        raise ValueError(f'{line[:40]!r} has no even count of coordinates')
    return int(first), np.array(numbers, np.float64).reshape(-1, 2)


def _draw(corners: np.ndarray, size: tuple[int, int]) -> list[Mask]:
    return [polygon_mask(corners * (size[1], size[0]), size)]
