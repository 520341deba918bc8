"""Cityscapes as it is downloaded: leftImg8bit and gtFine, or gtCoarse, or the panoptic JSON that
the data set's own script (cityscapesscripts' createPanopticImgs) makes of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pdl_ros.datasets.panoptic_json import PanopticJson
from pdl_ros.datasets.source import Source, SourceLabels, SourceSegment, child_folders
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import read_samples
from pdl_ros.labels import SourceClass

LAYOUT = 'Cityscapes'
_IMAGE, _PNG = '_leftImg8bit.png', ('_instanceIds.png', '_labelIds.png')
_PANOPTIC = 'cityscapes_panoptic_'
# By id, from 0 on. `!`: left out of the published evaluation; `*`: its instances are told apart.
_NAMES = """
!unlabeled !ego_vehicle !rectification_border !out_of_roi !static !dynamic !ground road sidewalk
!parking !rail_track building wall fence !guard_rail !bridge !tunnel pole !polegroup traffic_light
traffic_sign vegetation terrain sky *person *rider *car *truck *bus *!caravan *!trailer *train
*motorcycle *bicycle
"""
CLASSES = tuple(
    SourceClass(i, name.strip('*!').replace('_', ' '), '*' in name, is_ignored='!' in name)
    for i, name in enumerate(_NAMES.split())
)


class CityscapesPngs:
    """The source of ``leftImg8bit/<split>/<city>/`` beside ``gtFine/<split>/<city>/``.

    A value of an instance PNG is a class (of things: a group that nobody told apart, a crowd) or,
    from 1000 on, ``class * 1000 + number``, numbers from 0. Where there are PNGs of label ids only,
    all things are crowds: they teach semantics.
    """

    layout, classes = LAYOUT, CLASSES

    def __init__(self, root: Path, split: str, truth: str = 'gtFine') -> None:
        self.where = str(root)
        self._images, self._labels = root / 'leftImg8bit' / split, root / truth / split
        self.names, self._suffix = _frames(self._images, self._labels, truth)

    def image(self, index: int) -> Path:
        return find_image(self._images, self.names[index])

    def label_file(self, index: int) -> Path:
        name = self.names[index]
        return self._labels / name.partition('_')[0] / f'{name}{self._suffix}'

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        file = self.label_file(index)
        values = read_samples(file)
        if values.ndim != 2:
            raise PdlError(f"{file} must be a one-channel PNG of Cityscapes' ids.")
        values = values.astype(np.int32)
        found = np.flatnonzero(np.bincount(values.ravel())).tolist()
        segments = (
            SourceSegment(v, v, True) if v < 1000 else SourceSegment(v, v // 1000) for v in found
        )
        return SourceLabels(values, tuple(segments))


def find_image(images: Path, name: str) -> Path:
    """Return the path of a frame, which begins with its city, in a split's folder."""
    return images / name.partition('_')[0] / f'{name}{_IMAGE}'


def splits(root: Path) -> list[str]:
    """Return the splits with pictures and labels; none where this is not Cityscapes."""
    pictures = child_folders(root / 'leftImg8bit')
    labelled = {split for split in pictures if _truth(root, split) or _panoptic(root, split)}
    return sorted(labelled)


def open_split(root: Path, split: str) -> Source:
    """Open the instance PNGs of a split, or its panoptic JSON where there are none."""
    truth = _truth(root, split)
    if truth:
        return CityscapesPngs(root, split, truth)
    images = root / 'leftImg8bit' / split
    file = _panoptic(root, split)
    if file is None:
        raise PdlError(f'{root} has no labels of split {split!r} in gtFine.')
    return PanopticJson(
        file, lambda name, _: find_image(images, name), layout=f'{LAYOUT}, panoptic JSON'
    )


def _truth(root: Path, split: str) -> str | None:
    return next((t for t in ('gtFine', 'gtCoarse') if child_folders(root / t / split)), None)


def _panoptic(root: Path, split: str) -> Path | None:
    files = (root / 'gtFine' / f'{_PANOPTIC}{split}{end}.json' for end in ('', '_trainId'))
    return next((file for file in files if file.is_file()), None)


def _frames(images: Path, labels: Path, truth: str) -> tuple[list[str], str]:
    """Return the names of the frames that have a picture or labels, and the end of the names of
    their label files.
    """
    pictures = {p.name.removesuffix(_IMAGE) for p in images.glob(f'*/*{_IMAGE}')}
    for end in _PNG:
        suffix = f'_{truth}{end}'
        found = {p.name.removesuffix(suffix) for p in labels.glob(f'*/*{suffix}')}
        if found:
            return sorted(pictures | found), suffix
    return sorted(pictures), f'_{truth}{_PNG[0]}'
