"""What is to be labelled: a set of a mixture, a data set, pictures without labels, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pdl_ros.datasets import layouts
from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.plausible import require_plausible
from pdl_ros.datasets.source import require_files
from pdl_ros.errors import PdlError, require
from pdl_ros.imaging.files import list_images, read_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.sources import open_source
from pdl_ros.teachers.joined import groups_of, with_joined
from pdl_ros.teachers.labels import Labels


class Picture(NamedTuple):
    """A picture to be labelled. file: where it lies, if it is a file of its own. read: its (H, W,
    3) uint8 RGB pixels, and what is known of it; raises PdlError where it is damaged.
    """

    name: str
    file: Path | None
    read: Callable[[], tuple[np.ndarray, Labels]]


@dataclass(frozen=True)
class Input:
    """Pictures in order. base: the label set that teachers are asked in. label_set: the same with
    the joined classes of the data after them. count: of the pictures, None where nobody knows.
    """

    base: LabelSet
    label_set: LabelSet
    pictures: Callable[[], Iterator[Picture]]
    count: int | None


def open_input(source: str, split: str, label_set: LabelSet) -> Input:
    """Open what a user names: the folder of a data set, or anything that frames come from."""
    path = Path(source).expanduser()
    if path.is_dir() and any(layout.splits(path) for layout in layouts.LAYOUTS):
        return _data_set(path, split, label_set)
    if path.is_dir():
        return _folder(path, label_set)
    return _frames(source, label_set)


def _data_set(root: Path, split: str, label_set: LabelSet) -> Input:
    source = layouts.open_source(root, split, label_set.label_divisor)
    joined = with_joined(label_set, groups_of(source.classes, label_set))
    dataset = MappedDataset(source, joined)
    require_files(source)
    require_plausible(source, joined)

    def read(index: int) -> tuple[np.ndarray, Labels]:
        sample = dataset[index]
        return sample.image, Labels.of(sample)

    def pictures() -> Iterator[Picture]:
        for i, name in enumerate(source.names):
            yield Picture(name.replace('/', '_'), source.image(i), lambda i=i: read(i))

    return Input(label_set, joined, pictures, len(source.names))


def _folder(folder: Path, label_set: LabelSet) -> Input:
    files = list_images(folder)
    require(bool(files), f'Folder {folder} holds neither labelled images nor pictures.')
    twice = {f.stem for f in files if [g.stem for g in files].count(f.stem) > 1}
    if twice:
        raise PdlError(
            f'{folder} has two pictures of the name {min(twice)!r}; labels are named after them.'
        )

    def pictures() -> Iterator[Picture]:
        for file in files:
            yield Picture(file.stem, file, lambda file=file: _unlabelled(read_rgb(file)))

    return Input(label_set, label_set, pictures, len(files))


def _frames(source: str, label_set: LabelSet) -> Input:
    frames = open_source(source)
    stem = Path(source).stem

    def pictures() -> Iterator[Picture]:
        for number, rgb in enumerate(frames):
            yield Picture(f'{stem}_{number:06d}', None, lambda rgb=rgb: _unlabelled(rgb))

    return Input(label_set, label_set, pictures, frames.length)


def _unlabelled(rgb: np.ndarray) -> tuple[np.ndarray, Labels]:
    return rgb, Labels.nothing(rgb.shape[:2])
