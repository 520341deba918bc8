"""Which layout a folder has, and its splits opened in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pdl_ros.datasets import cityscapes, coco_instances, label_folder, mapillary, yolo
from pdl_ros.datasets import panoptic_json as panoptic
from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.plausible import require_plausible
from pdl_ros.datasets.source import Source, SourceLabels, child_folders, image_finder, require_files
from pdl_ros.errors import PdlError
from pdl_ros.imaging.files import IMAGE_SUFFIXES
from pdl_ros.labels import LabelSet

SKIPPED = 'skip.txt'
"""The file in a data set's folder that names images to be left out, one a line: split/name."""

_LOG = logging.getLogger('pdl_ros.datasets')
_WHOLE = ('instances', 'annotations', 'result', '_annotations.coco', 'instances_default')


class NoSplitError(PdlError):
    """There is no such split."""


class Layout(NamedTuple):
    """A way in which data sets lie on disks.

    splits: the splits of a folder, none where it has another layout. open: a split of it, with the
    label_divisor that its numbers were written with where the folder does not say.
    """

    name: str
    splits: Callable[[Path], list[str]]
    open: Callable[[Path, str, int], Source]


def open_dataset(root: Path, split: str, label_set: LabelSet) -> MappedDataset:
    """Open a split of a data set of any known layout, and log which one it is.

    Raises PdlError where files are missing, or where the label set does not fit.
    """
    source = open_source(root, split, label_set.label_divisor)
    dataset = MappedDataset(source, label_set)
    require_files(source)
    require_plausible(source, label_set)
    _LOG.info('%s is %s; %s: %d images.', root, source.layout, split or 'all', len(dataset))
    if not source.classes:
        _LOG.info(
            'Its classes have no names: 0 to %d are taken for those of %s.',
            label_set.num_classes - 1,
            label_set.name,
        )
    return dataset


def recognise(root: Path) -> tuple[Layout, list[str]]:
    """Return the layout of a folder, and its splits; raise PdlError where it has none."""
    if not root.is_dir():
        raise PdlError(f'No folder {root}; give the folder of a data set.')
    for layout in LAYOUTS:
        if found := layout.splits(root):
            return layout, found
    known = ', '.join(layout.name for layout in LAYOUTS)
    raise PdlError(
        f'{root} has none of the known layouts ({known}); docs/datasets.md shows them. Own labels '
        'may lie as images/<split>/ and panoptic/<split>/.'
    )


def find_split(root: Path, split: str) -> tuple[Layout, str, Path | None]:
    """Return the layout, its own name of a split, and the file that lists the split's images where
    the folder has one part only; raise NoSplitError where there is no such split, PdlError where
    several may be meant.
    """
    layout, found = recognise(root)
    near = [s for s in found if s.startswith(split)] if split else []
    if split in found:
        return layout, split, None
    if len(near) == 1:
        return layout, near[0], None
    names = root / f'{split}.txt'
    if not split and len(found) == 1:
        return layout, found[0], None
    if found == [''] and names.is_file():
        return layout, '', names
    if found == ['']:
        raise NoSplitError(
            f'{root} ({layout.name}) has no splits; write the names of the images of split '
            f'{split!r} into {names}, one a line.'
        )
    if near:
        raise PdlError(
            f'{root} ({layout.name}) has several splits {split!r}: {", ".join(near)}; name one.'
        )
    raise NoSplitError(f'{root} ({layout.name}) has no split {split!r}; it has {", ".join(found)}.')


def open_source(root: Path, split: str, label_divisor: int = 1000) -> Source:
    """Open a split as it lies on the disk, without the images that skip.txt names."""
    layout, name, listed = find_split(root, split)
    source = layout.open(root, name, label_divisor)
    wanted = _read_names(listed) if listed else None
    skipped = _read_names(root / SKIPPED)
    keys = [skip_key(name, image) for image in source.names]
    chosen = [
        i
        for i, image in enumerate(source.names)
        if (wanted is None or image in wanted) and keys[i] not in skipped
    ]
    if wanted is not None and (lost := sorted(wanted - set(source.names))):
        raise PdlError(
            f'{listed} names {len(lost)} images that {root} lacks, the first is {lost[0]}.'
        )
    left_out = len(skipped.intersection(keys))
    if left_out:
        _LOG.info('%s names %d images of split %s: left out.', root / SKIPPED, left_out, name)
    return source if len(chosen) == len(keys) else _Selection(source, chosen)


def skip_key(split: str, name: str) -> str:
    """Return the line of skip.txt that leaves an image out."""
    return f'{split}/{name}'.lstrip('/')


class _Selection:
    """Some of the images of a source."""

    def __init__(self, source: Source, chosen: Sequence[int]) -> None:
        self._source, self._chosen = source, list(chosen)
        self.layout, self.where, self.classes = source.layout, source.where, source.classes
        self.names = [source.names[i] for i in chosen]

    def image(self, index: int) -> Path:
        return self._source.image(self._chosen[index])

    def label_file(self, index: int) -> Path | None:
        return self._source.label_file(self._chosen[index])

    def read(self, index: int, size: tuple[int, int]) -> SourceLabels:
        return self._source.read(self._chosen[index], size)


def _read_names(file: Path) -> set[str]:
    """Return the lines of a text file, without the endings of image files; none where there is no
    file.
    """
    if not file.is_file():
        return set()
    try:
        lines = file.read_text(encoding='utf-8').splitlines()
    except (OSError, ValueError) as error:
        raise PdlError(f'{file} cannot be read as text: {error}.') from None
    names = [Path(line.strip()) for line in lines if line.strip() and line[0] != '#']
    return {str(n.with_suffix('') if n.suffix.lower() in IMAGE_SUFFIXES else n) for n in names}


def _panoptic_files(root: Path) -> dict[str, Path]:
    files = sorted([*root.glob('annotations/panoptic_*.json'), *root.glob('panoptic_*.json')])
    return {f.stem.removeprefix('panoptic_'): f for f in files if f.with_suffix('').is_dir()}


def _instance_files(root: Path) -> dict[str, Path]:
    found = {}
    for file in sorted([*root.glob('annotations/*.json'), *root.glob('*.json')]):
        split = file.stem.removeprefix('instances_')
        if file.stem in _WHOLE:
            found[''] = file
        elif split != file.stem or split.startswith(('train', 'val', 'test')):
            found[split] = file
    for folder in child_folders(root):
        if (file := root / folder / '_annotations.coco.json').is_file():
            found[folder] = file
    return found


def _pictures(root: Path, split: str, file: Path) -> Callable[[str, str], Path]:
    names = (f'images/{split}', split, f'{split}/images', 'images', 'input_images', '.')
    folders = [root / name for name in names if (root / name).is_dir()]
    return image_finder([*folders, file.parent])


def _open_panoptic(root: Path, split: str, _: int) -> Source:
    file = _panoptic_files(root)[split]
    return panoptic.PanopticJson(file, _pictures(root, split, file))


def _open_instances(root: Path, split: str, _: int) -> Source:
    file = _instance_files(root)[split]
    return coco_instances.CocoInstances(
        file, _pictures(root, split, file), root / 'semantic' / split
    )


LAYOUTS = (
    Layout(
        cityscapes.LAYOUT,
        cityscapes.splits,
        lambda root, split, _: cityscapes.open_split(root, split),
    ),
    Layout(
        mapillary.LAYOUT,
        mapillary.splits,
        lambda root, split, _: mapillary.MapillaryPngs(root, split),
    ),
    Layout(panoptic.LAYOUT, lambda root: sorted(_panoptic_files(root)), _open_panoptic),
    Layout(coco_instances.LAYOUT, lambda root: sorted(_instance_files(root)), _open_instances),
    Layout(
        yolo.LAYOUT,
        yolo.splits,
        lambda root, split, _: yolo.YoloPolygons(root, split, root / 'semantic' / split),
    ),
    Layout(label_folder.LAYOUT, label_folder.splits, label_folder.PngFolder),
)
