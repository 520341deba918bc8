"""Mapillary Vistas v1.2 and v2.0 as they are downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdl_ros.datasets.source import SourceLabels, SourceSegment, child_folders, read_json
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import list_images, read_samples
from pdl_ros.labels import SourceClass

LAYOUT = 'Mapillary Vistas'
# Of a folder with both, the newer one is opened. Version, configuration, folder in that of a split.
_VERSIONS = (
    ('v2.0', 'config_v2.0.json', 'v2.0/instances'),
    ('v1.2', 'config_v1.2.json', 'v1.2/instances'),
    ('v1.2', 'config.json', 'instances'),
)


class MapillaryPngs:
    """The source of ``<split>/images/`` beside ``<split>/instances/``.

    A value of an instance PNG is ``class * 256 + number``, classes in the order of the file of the
    configuration, numbers from 0: with 0, too, it is an instance. What the configuration does not
    evaluate is void unless a label set asks for it, as for v2.0's groups.
    """

    def __init__(self, root: Path, split: str) -> None:
        version, config, folder = _version(root, split)
        self.layout, self.where = f'{LAYOUT} {version}', str(root)
        self.classes = _classes(root / config)
        self._images, self._labels = root / split / 'images', root / split / folder
        self._files = [p.name for p in list_images(self._images)]
        self.names = [Path(f).stem for f in self._files]

    def image(self, index: int) -> Path:
        return self._images / self._files[index]

    def label_file(self, index: int) -> Path:
        return self._labels / f'{self.names[index]}.png'

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        file = self.label_file(index)
        values = read_samples(file)
        if values.ndim != 2 or values.dtype != np.uint16:
            raise PdlError(f"{file} must be a one-channel 16-bit PNG of Mapillary's instances.")
        found = np.flatnonzero(np.bincount(values.ravel())).tolist()
        return SourceLabels(values, tuple(SourceSegment(v, v >> 8) for v in found))


def splits(root: Path) -> list[str]:
    """Return the splits with pictures and labels; none where this is not Mapillary Vistas."""
    if not any((root / config).is_file() for _, config, _ in _VERSIONS):
        return []
    return [s for s in child_folders(root) if (root / s / 'images').is_dir() and _has(root, s)]


def _has(root: Path, split: str) -> list[tuple[str, str, str]]:
    return [v for v in _VERSIONS if (root / v[1]).is_file() and (root / split / v[2]).is_dir()]


def _version(root: Path, split: str) -> tuple[str, str, str]:
    versions = _has(root, split)
    if not versions:
        raise PdlError(f'{root / split} has no folder of instance PNGs of Mapillary Vistas.')
    return versions[0]


def _classes(file: Path) -> tuple[SourceClass, ...]:
    try:
        return tuple(
            SourceClass(
                i,
                str(label['readable']),
                bool(label['instances']),
                tuple(int(v) for v in label['color'][:3]),  # type: ignore[arg-type]
                str(label['name']),
                not label.get('evaluate', True),
            )
            for i, label in enumerate(read_json(file)['labels'])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PdlError(
            f'{file} is no configuration of Mapillary Vistas: {type(error).__name__} {error}.'
        ) from None
