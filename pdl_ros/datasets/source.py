"""What a reader of a layout is: the labels of a split as they lie on the disk, in the ids of
whoever made them. `mapped.py` makes samples of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

import numpy as np

from pdl_ros.errors import PdlError, require
from pdl_ros.labels import SourceClass


class SourceSegment(NamedTuple):
    """A region: its value in the map, and the id of its class in the data, or a value of a semantic
    PNG beside polygons (from_semantic).
    """

    value: int
    class_id: int
    is_crowd: bool = False
    from_semantic: bool = False


class SourceLabels(NamedTuple):
    """The labels of one image.

    values: (H, W) integers below 2^31. segments: in the order in which targets are drawn. A pixel
    of the value `unlabelled` is one that nobody labelled; other values without a segment are void.
    """

    values: np.ndarray
    segments: tuple[SourceSegment, ...]
    unlabelled: int | None = None


class Source(Protocol):
    """A split of a data set, nothing of which is in memory but names, and what JSON files hold.

    layout, where: its kind, and where it lies, for messages. classes: those of the data; () where
    it has numbers only. names: one an image.
    """

    layout: str
    where: str
    classes: tuple[SourceClass, ...]
    names: list[str]

    def image(self, index: int) -> Path:
        """Return where an image lies, whether it is there or not."""
        ...

    def label_file(self, index: int) -> Path | None:
        """Return where its labels lie; None where it needs none, as a picture without things."""
        ...

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        """Read the labels of an image; `size`: (height, width) of the picture as viewers show it,
        for labels that have none of their own.
        """
        ...


def read_json(path: Path) -> Any:
    """Read a JSON file; raise PdlError for what is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {error.strerror}.') from None
    except (ValueError, RecursionError) as error:
        raise PdlError(f'{path} is no JSON file, or was cut short ({error}).') from None


def missing_files(source: Source) -> list[tuple[int, Path]]:
    """Return the index and the path of each file that is not there, images first."""
    count = range(len(source.names))
    images = [(i, source.image(i)) for i in count]
    labels = [(i, file) for i in count if (file := source.label_file(i)) is not None]
    return [(i, path) for i, path in (*images, *labels) if not path.is_file()]


def require_files(source: Source) -> None:
    """Raise PdlError where a source has no images, or some of its files are not there."""
    where = f'{source.where} ({source.layout}) holds {len(source.names)} images'
    require(len(source.names) > 0, f'{where}; look whether it is the right folder.')
    missing = missing_files(source)
    if missing:
        raise PdlError(
            f'{where}; {len(missing)} of their files are missing, the first is {missing[0][1]}; '
            '`pdl_ros data check` lists them all.'
        )


def child_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, without hidden ones; none where it is none."""
    if not folder.is_dir():
        return []
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != '.')
    except OSError as error:
        raise PdlError(f'Folder {folder} cannot be read: {error.strerror}.') from None


def leads_out(name: str) -> bool:
    """Tell whether a file that another names would lie outside of the folder it is looked for in,
    or is no file's name at all.
    """
    path = PurePosixPath(name.replace('\\', '/'))
    odd = path.is_absolute() or '..' in path.parts or ':' in name or '\0' in name
    return odd or not path.parts


def inside(folder: Path, name: str) -> Path:
    """Return the path in a folder of a file that labels name: where its name leads out of the
    folder, as on the disk of whoever made the labels, of the file of that name in the folder.
    """
    plain = name.replace('\\', '/').replace('\0', '')
    path = PurePosixPath(plain)
    return folder / (path.name if leads_out(name) else path)


def image_finder(folders: Sequence[Path]) -> Callable[[str, str], Path]:
    """Return a function from an image's id and `file_name` to its path, in the first of the folders
    that has it; in the first of all where none has.
    """
    order = list(folders)

    def find(_: str, name: str) -> Path:
        for folder in order:
            path = inside(folder, name)
            if path.is_file():
                order.remove(folder)
                order.insert(0, folder)  # the next one is there too, as a rule
                return path
        return inside(order[0], name)

    return find
