"""A folder of images with 16-bit panoptic PNGs beside it: the CamVid and CWFID layout here, and an
easy one for own data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.source import SourceLabels, SourceSegment, child_folders, require_files
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import list_images, read_samples
from pdl_ros.labels import LabelSet, SourceClass
from pdl_ros.labels.label_set import PANOPTIC_VOID

LAYOUT = '16-bit PNGs'
LABELS = 'labels.yaml'
"""The file in a data set's folder that says what its numbers mean: a label set."""


class PngFolder:
    """The source that `LabelFolder` describes. label_divisor: as the PNGs were written."""

    layout = LAYOUT

    def __init__(self, root: Path, split: str, label_divisor: int | None = None) -> None:
        self._images, self._labels = root / 'images' / split, root / 'panoptic' / split
        for folder in (self._images, self._labels):
            if not folder.is_dir():
                raise PdlError(
                    f'No folder {folder}; a data set has images/<split>/ and panoptic/<split>/.'
                )
        self.where = str(root)
        self._files = [p.name for p in list_images(self._images)]
        self.names = [Path(f).stem for f in self._files]
        own = root / LABELS
        label_set = LabelSet.load(own) if own.is_file() else None
        self.classes = classes_of(label_set)
        self._divisor = label_set.label_divisor if label_set else label_divisor or 1000

    def image(self, index: int) -> Path:
        return self._images / self._files[index]

    def label_file(self, index: int) -> Path:
        return self._labels / f'{self.names[index]}.png'

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        values = read_samples(self.label_file(index))
        if values.dtype != np.uint16 or values.ndim != 2:
            raise PdlError(
                f'{self.label_file(index)} must be a one-channel 16-bit PNG of size '
                f'{size[1]}x{size[0]}.'
            )
        found = np.flatnonzero(np.bincount(values.ravel())).tolist()
        parts = [(v, *divmod(v, self._divisor)) for v in found if v != PANOPTIC_VOID]
        return SourceLabels(values, tuple(SourceSegment(v, c, n == 0) for v, c, n in parts))


class LabelFolder(MappedDataset):
    """``root/images/<split>/NAME.jpg|png`` with ``root/panoptic/<split>/NAME.png``, in name order.

    The PNG is 16 bit: ``class_id * label_divisor + number``, 65535 = void. Things count from 1, a
    thing with number 0 is a crowd region; numbers of stuff do not matter. Leave `split` empty when
    there are no split folders. Where ``root/labels.yaml`` is a label set, the numbers are its
    classes, and become those of `label_set` by their names.
    """

    def __init__(self, root: str | Path, split: str, label_set: LabelSet) -> None:
        source = PngFolder(Path(root), split, label_set.label_divisor)
        require_files(source)
        super().__init__(source, label_set)


def splits(root: Path) -> list[str]:
    """Return the splits of a folder of this layout; '' where it has no split folders."""
    if not (root / 'panoptic').is_dir() or not (root / 'images').is_dir():
        return []
    return child_folders(root / 'panoptic') or ['']


def classes_of(label_set: LabelSet | None) -> tuple[SourceClass, ...]:
    """Return the classes of data that are labelled in the ids of a label set."""
    if label_set is None:
        return ()
    return tuple(
        SourceClass(i, c.name, c.is_thing, c.color) for i, c in enumerate(label_set.classes)
    )
