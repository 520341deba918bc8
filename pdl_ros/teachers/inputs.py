"""What is to be labelled: a set of a mixture, a data set, pictures without labels, or a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pdl_ros.bags.files import is_bag
from pdl_ros.datasets import layouts
from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.mapped import MappedDataset, class_map
from pdl_ros.datasets.mixture import open_sets
from pdl_ros.datasets.mixture_file import read_mixture
from pdl_ros.datasets.plausible import require_plausible
from pdl_ros.datasets.source import require_files
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.imaging.files import list_images, read_rgb
from pdl_ros.labels import LabelSet
from pdl_ros.sources import open_source
from pdl_ros.teachers.joined import joined_classes, with_joined
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
    """What is to be labelled. label_set: in whose classes it is, and groups: what the data join.

    pictures: in order; what it takes is told, in a sentence, of frames of a recording or a video
    that cannot be had. count: of the pictures, None where nobody knows. files: all pictures and
    labels that are files of their own. is_whole: nothing is known to be missing of a recording.
    """

    label_set: LabelSet
    groups: Groups
    pictures: Callable[[Callable[[str], None]], Iterator[Picture]]
    count: int | None
    files: tuple[Path, ...] = ()
    is_whole: bool = True


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
    if path.is_dir() and not is_bag(path):
        return _folder(path, label_set)
    return _frames(source, label_set)


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
    classes, groups = joined_classes(source.classes, label_set, str(root))
    joined = with_joined(label_set, groups)
    dataset = MappedDataset(source, joined, class_map(source, joined, classes))
    require_files(source)
    require_plausible(source, dataset.label_set)
    return _input(dataset, label_set, groups)


def _input(dataset: MappedDataset, label_set: LabelSet, groups: Groups) -> Input:
    source, things = dataset.source, with_joined(label_set, groups).thing_ids
    names = [name.replace('/', '_') for name in source.names]
    _require_distinct(names, source.where)
    count = range(len(names))
    labels = [file for i in count if (file := source.label_file(i)) is not None]

    def read(index: int) -> tuple[np.ndarray, Labels]:
        sample = dataset[index]
        return sample.image, Labels.of(sample, things)

    def pictures(_: Callable[[str], None]) -> Iterator[Picture]:
        for i, name in enumerate(names):
            yield Picture(name, source.image(i), partial(read, i))

    files = (*map(source.image, count), *labels)
    return Input(label_set, groups, pictures, len(names), files)


def _folder(folder: Path, label_set: LabelSet) -> Input:
    files = list_images(folder)
    require(bool(files), f'Folder {folder} holds neither labelled images nor pictures.')
    _require_distinct([f.stem for f in files], str(folder))

    def pictures(_: Callable[[str], None]) -> Iterator[Picture]:
        for file in files:
            yield Picture(file.stem, file, partial(_read_unlabelled, file))

    return Input(label_set, (), pictures, len(files), tuple(files))


def _frames(source: str, label_set: LabelSet) -> Input:
    frames = open_source(source)
    stem = Path(source).stem

    def pictures(lost: Callable[[str], None]) -> Iterator[Picture]:
        number = 0
        try:
            rgbs = frames if frames.recorded is None else (f.rgb for f in frames.recorded(lost))
            for rgb in rgbs:
                yield Picture(f'{stem}_{number:06d}', None, partial(_unlabelled, rgb))
                number += 1
        except PdlError as error:
            if not number:
                raise
            lost(str(error))  # it ends here; what came before is whole

    return Input(label_set, (), pictures, frames.length, is_whole=frames.is_whole)


def _require_distinct(names: Sequence[str], where: str) -> None:
    """Raise PdlError where labels, which are named after the pictures, would be of two."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise PdlError(
            f'{where} has two pictures of the name {printable(repr(min(twice)))}; labels are named '
            'after them, so rename one.'
        )


def _read_unlabelled(file: Path) -> tuple[np.ndarray, Labels]:
    return _unlabelled(read_rgb(file))


def _unlabelled(rgb: np.ndarray) -> tuple[np.ndarray, Labels]:
    return rgb, Labels.nothing(rgb.shape[:2])
