"""What is to be labelled: a set of a mixture, a data set, pictures without labels, or a video."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pdl_ros.datasets import layouts
from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.mixture import open_sets
from pdl_ros.datasets.mixture_file import read_mixture
from pdl_ros.datasets.plausible import require_plausible
from pdl_ros.datasets.source import require_files
from pdl_ros.errors import PdlError, require
from pdl_ros.imaging.files import list_images, read_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.sources import open_source
from pdl_ros.teachers.joined import groups_named, with_joined
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
    """Pictures in order. label_set: in whose classes they are, and groups: what the data join.
    count: of the pictures, None where nobody knows. folder: of the first, if it is a file.
    """

    label_set: LabelSet
    groups: Groups
    pictures: Callable[[], Iterator[Picture]]
    count: int | None
    folder: Path | None = None


def open_input(source: str, split: str, labels: str, chosen: str | None = None) -> Input:
    """Open what a user names: the YAML of a mixture, of which `chosen` is a set; the folder of a
    data set; or anything that frames come from.

    labels: the label set, of a mixture its own.
    """
    path = Path(source).expanduser()
    if path.suffix.lower() in ('.yaml', '.yml'):
        return _set_of_mixture(path, split, chosen)
    require(chosen is None, f'--set names a set of a mixture, and {source} is none.')
    label_set = LabelSet.load(labels)
    if path.is_dir() and any(layout.splits(path) for layout in layouts.LAYOUTS):
        return _data_set(path, split, label_set)
    return _folder(path, label_set) if path.is_dir() else _frames(source, label_set)


def _set_of_mixture(file: Path, split: str, chosen: str | None) -> Input:
    names = list(read_mixture(file)[1])
    if chosen is None and len(names) > 1:
        raise PdlError(f'{file} has the sets {", ".join(names)}; say with --set which one.')
    label_set, groups, sets = open_sets(file, split, [chosen or names[0]])
    dataset = sets[0].dataset
    assert isinstance(dataset, MappedDataset)
    return _input(dataset, label_set, groups)


def _data_set(root: Path, split: str, label_set: LabelSet) -> Input:
    """Open a folder whose classes are those of the label set, by its rules, or joined ones."""
    source = layouts.open_source(root, split, label_set.label_divisor)
    groups = groups_named(source.classes, label_set, str(root))
    dataset = MappedDataset(source, with_joined(label_set, groups))
    require_files(source)
    require_plausible(source, dataset.label_set)
    return _input(dataset, label_set, groups)


def _input(dataset: MappedDataset, label_set: LabelSet, groups: Groups) -> Input:
    source, things = dataset.source, with_joined(label_set, groups).thing_ids

    def read(index: int) -> tuple[np.ndarray, Labels]:
        sample = dataset[index]
        return sample.image, Labels.of(sample, things)

    def pictures() -> Iterator[Picture]:
        for i, name in enumerate(source.names):
            yield Picture(name.replace('/', '_'), source.image(i), partial(read, i))

    return Input(label_set, groups, pictures, len(source.names), source.image(0).parent)


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
            yield Picture(file.stem, file, partial(_read_unlabelled, file))

    return Input(label_set, (), pictures, len(files), folder)


def _frames(source: str, label_set: LabelSet) -> Input:
    frames = open_source(source)
    stem = Path(source).stem

    def pictures() -> Iterator[Picture]:
        for number, rgb in enumerate(frames):
            yield Picture(f'{stem}_{number:06d}', None, partial(_unlabelled, rgb))

    return Input(label_set, (), pictures, frames.length)


def _read_unlabelled(file: Path) -> tuple[np.ndarray, Labels]:
    return _unlabelled(read_rgb(file))


def _unlabelled(rgb: np.ndarray) -> tuple[np.ndarray, Labels]:
    return rgb, Labels.nothing(rgb.shape[:2])
