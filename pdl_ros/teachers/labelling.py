"""Pictures with partial labels in, a data set with as many labels as can be trusted out."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.label_folder import LABELS
from pdl_ros.errors import PdlError, require
from pdl_ros.labels import LabelSet
from pdl_ros.runtime.files import atomic_write
from pdl_ros.teachers.boxes import BoxTeacher
from pdl_ros.teachers.counts import Counts, count
from pdl_ros.teachers.deciding import decide_instances, decide_pixels
from pdl_ros.teachers.inputs import Input, Picture
from pdl_ros.teachers.joined import members_of, with_joined
from pdl_ros.teachers.labels import Labels
from pdl_ros.teachers.semantic import SemanticTeacher
from pdl_ros.teachers.settings import LabelSettings
from pdl_ros.teachers.splitting import Split, split


@dataclass(frozen=True)
class Labeller:
    """Completes the labels of one picture. groups: the joined classes of the data."""

    label_set: LabelSet
    groups: Groups
    settings: LabelSettings
    semantic: SemanticTeacher | None = None
    boxes: BoxTeacher | None = None

    def __call__(self, rgb: np.ndarray, labels: Labels) -> Counts:
        """Change the labels of a (H, W, 3) uint8 picture; return what was done.

        Boxes come first: whether pixels are one thing does not depend on which class it is.
        """
        members, before = members_of(self.label_set, self.groups), labels.classes.copy()
        done = Split({})
        if self.boxes is not None:
            things = with_joined(self.label_set, self.groups).thing_ids
            done = split(labels, self.boxes(rgb), members, things, self.settings)
        probabilities = None if self.semantic is None else self.semantic(rgb)
        decide_instances(labels, probabilities, done.boxes, members, self.settings)
        if probabilities is not None:
            decide_pixels(labels, probabilities, members, self.settings)
        return count(before, labels, members, done)


class LabelledFolder:
    """A data set that is written: images/<split>/, panoptic/<split>/ and labels.yaml.

    Raises PdlError where the folder holds labels in other classes, or the pictures themselves.
    """

    def __init__(self, root: Path, split: str, asked: Input, overwrite: bool) -> None:
        label_set = with_joined(asked.label_set, asked.groups)
        self.label_set, self.overwrite = label_set, overwrite
        self.images, self.labels = root / 'images' / split, root / 'panoptic' / split
        file, pictures = root / LABELS, (root / 'images').resolve()
        read = None if asked.folder is None else asked.folder.resolve() / 'x'
        require(
            read is None or pictures not in read.parents,
            f'{root} has the pictures that are to be labelled; write to another folder.',
        )
        if file.is_file() and LabelSet.load(file) != label_set:
            others = [f for f in (root / 'panoptic').glob('*') if f != self.labels]
            require(
                overwrite and not others,
                f'{root} holds labels in other classes than those of {label_set.name!r} here; '
                'give another folder.',
            )
        with atomic_write(file) as out:
            out.write(label_set.to_yaml().encode())

    def has(self, name: str) -> bool:
        """Tell whether the labels of a picture are there and are to be kept."""
        return not self.overwrite and (self.labels / f'{name}.png').is_file()

    def write(self, picture: Picture, rgb: np.ndarray, labels: Labels) -> None:
        """Write a picture and its labels: of a file a link, where the disk has links."""
        if picture.file is None:
            _write_png(self.images / f'{picture.name}.png', rgb[..., ::-1])
        else:
            suffix = picture.file.suffix
            _link(picture.file, self.images / f'{picture.name}{suffix}')
        _write_png(self.labels / f'{picture.name}.png', labels.to_panoptic(self.label_set))


def label_pictures(
    pictures: Iterable[Picture], labeller: Labeller, folder: LabelledFolder
) -> tuple[Counts, int, list[str]]:
    """Label pictures into a folder. Return the counts of what was done, how many had labels there
    already, and a sentence for each that is damaged, and so left out.
    """
    counts, kept, lost = Counts(), 0, list[str]()
    for picture in pictures:
        if folder.has(picture.name):
            kept += 1
            continue
        try:
            rgb, labels = picture.read()
        except PdlError as error:
            lost.append(str(error))
            continue
        counts.add(labeller(rgb, labels))
        folder.write(picture, rgb, labels)
    return counts, kept, lost


def _link(file: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.link(os.path.realpath(file), target)
            return
        shutil.copyfile(file, target)
    except OSError as error:
        raise PdlError(f'{target} cannot be written: {error.strerror}.') from None


def _write_png(path: Path, image: np.ndarray) -> None:
    with atomic_write(path) as file:
        file.write(cv2.imencode('.png', image)[1].tobytes())
