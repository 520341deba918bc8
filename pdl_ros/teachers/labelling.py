"""Pictures with partial labels in, a data set with as many labels as can be trusted out."""

from __future__ import annotations

import filecmp
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.label_folder import LABELS
from pdl_ros.errors import PdlError, os_error_reason, require
from pdl_ros.imaging.files import read_rgb, write_image
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

    Raises PdlError where the folder holds labels in other classes, or any of what is to be
    labelled; nothing is written then.
    """

    def __init__(self, root: Path, split: str, asked: Input, overwrite: bool) -> None:
        label_set = with_joined(asked.label_set, asked.groups)
        self.label_set, self.overwrite = label_set, overwrite
        self.images, self.labels = root / 'images' / split, root / 'panoptic' / split
        folders = {self.images.parent, self.images, self.labels.parent, self.labels}
        _require_elsewhere(asked.files, folders, root)
        file = root / LABELS
        old = LabelSet.load(file) if file.is_file() else None
        if old == label_set:
            return
        # The file says what the numbers in the PNGs mean, whoever wrote them.
        panoptic = self.labels.parent
        there = any(panoptic.glob('*.png')) or any(panoptic.glob('*/*.png'))
        require(
            old is None or (overwrite and not there),
            f'{root} holds labels in other classes than those of {label_set.name!r} here; give '
            'another folder.',
        )
        require(
            not there,
            f'{panoptic} holds label images, and no {file} says in which classes; give another '
            'folder.',
        )
        with atomic_write(file) as out:
            out.write(label_set.to_yaml().encode())

    def has(self, name: str) -> bool:
        """Tell whether the labels of a picture are there and are to be kept."""
        return not self.overwrite and (self.labels / f'{name}.png').is_file()

    def require_free(self, picture: Picture, rgb: np.ndarray) -> None:
        """Raise PdlError where the folder has another picture of that name."""
        target = self._place(picture)
        if not os.path.lexists(target):
            return
        if picture.file is None:
            same = np.array_equal(read_rgb(target), rgb)
        else:
            same = target.exists() and filecmp.cmp(picture.file, target, shallow=False)
        require(same, f'{target} is there, and is another picture; give another folder.')

    def write(self, picture: Picture, rgb: np.ndarray, labels: Labels) -> None:
        """Write a picture and its labels: of a file a link, where the disk has links."""
        if picture.file is None:
            write_image(self._place(picture), rgb)
        else:
            _link(picture.file, self._place(picture))
        write_image(self.labels / f'{picture.name}.png', labels.to_panoptic(self.label_set))

    def _place(self, picture: Picture) -> Path:
        suffix = '.png' if picture.file is None else picture.file.suffix
        return self.images / f'{picture.name}{suffix}'


def label_pictures(
    pictures: Iterable[Picture],
    labeller: Labeller,
    folder: LabelledFolder,
    lost: Callable[[str], None],
) -> tuple[Counts, int]:
    """Label pictures into a folder. Return the counts of what was done, and how many had labels
    there already. lost: is told, in a sentence, of each that is damaged, and so left out.
    """
    counts, kept = Counts(), 0
    for picture in pictures:
        if folder.has(picture.name):
            kept += 1
            continue
        try:
            rgb, labels = picture.read()
            folder.require_free(picture, rgb)
        except PdlError as error:
            lost(str(error))
            continue
        counts.add(labeller(rgb, labels))
        folder.write(picture, rgb, labels)
    return counts, kept


def _require_elsewhere(files: Iterable[Path], folders: Iterable[Path], root: Path) -> None:
    """Raise PdlError where a file, wherever links lead to it, lies in one of the folders."""
    written = {os.path.realpath(folder) for folder in folders}
    for file in files:
        if not written.isdisjoint(map(str, Path(os.path.realpath(file)).parents)):
            raise PdlError(f'{root} has {file}, which is to be labelled; write to another folder.')


def _link(file: Path, target: Path) -> None:
    part = target.with_name(f'{target.name}.{secrets.token_hex(4)}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            try:
                os.link(os.path.realpath(file), part)
            except OSError:
                shutil.copyfile(file, part)
            os.replace(part, target)
        finally:  # it stays where the two are one file already
            part.unlink(missing_ok=True)
    except OSError as error:
        raise PdlError(f'{target} cannot be written: {os_error_reason(error)}.') from None
