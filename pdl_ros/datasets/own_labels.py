"""The label set that a data set brings along."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pdl_ros.datasets import cityscapes, coco_instances, mapillary, panoptic_json, yolo
from pdl_ros.datasets.label_folder import LABELS
from pdl_ros.datasets.layouts import recognise
from pdl_ros.imaging.files import list_images, read_samples
from pdl_ros.labels import LabelClass, LabelSet, SourceClass
from pdl_ros.labels.label_set import PANOPTIC_VOID, SEMANTIC_VOID
from pdl_ros.labels.sources import SourceRules

_SHIPPED = {
    cityscapes.LAYOUT: 'cityscapes',
    f'{mapillary.LAYOUT} v1.2': 'mapillary',
    panoptic_json.LAYOUT: 'coco',
}
_BACKGROUND = 'background'
_LOOKED_AT = 200  # semantic PNGs of a split; a value that they lack is told when it turns up


def find_label_set(root: Path) -> LabelSet | None:
    """Return the label set of a data set: that of its ``labels.yaml``, a shipped one that is made
    for it, or its own classes; None where the folder holds numbers only.
    """
    file = root / LABELS
    if file.is_file():
        return LabelSet.load(file)
    layout, splits = recognise(root)
    classes, listed, kind = dict[int, SourceClass](), set[str](), layout.name
    for split in splits:
        source = layout.open(root, split, 1000)
        classes.update((c.id, c) for c in source.classes if not c.is_ignored)
        listed.update(c.name for c in source.classes)
        kind = source.layout
    found = [classes[i] for i in sorted(classes)]
    if not found:
        return None
    name = next((name for key, name in _SHIPPED.items() if kind.startswith(key)), None)
    if name is not None:
        shipped = LabelSet.load(name)
        if listed.issuperset(c.name for c in shipped.classes):
            return shipped
    polygons = layout.name in (coco_instances.LAYOUT, yolo.LAYOUT)
    return make_label_set(root.resolve().name, found, _semantic_values(root) if polygons else [])


def make_label_set(
    name: str, classes: Sequence[SourceClass], semantic: Sequence[int] = ()
) -> LabelSet:
    """Make a label set of the classes of a data set, in the order of their ids.

    semantic: values of semantic PNGs, which have no names; each becomes a class. Where all classes
    are things, what nobody labelled is one of its own: a network must say something about every
    pixel.
    """
    names = [c.name for c in classes]
    made = [
        LabelClass(
            c.name if names.count(c.name) == 1 else c.alias or f'{c.name} {c.id}',
            c.color or _color(i),
            c.is_thing,
        )
        for i, c in enumerate(classes)
    ]
    values = {v: f'stuff {v}' for v in semantic}
    stuff = [LabelClass(n, _color(len(made) + v), False) for v, n in values.items()]
    unlabelled = None
    if all(c.is_thing for c in (*made, *stuff)):
        unlabelled = _BACKGROUND
        stuff = [LabelClass(unlabelled, (70, 70, 70), False)]
    divisor = min(1000, PANOPTIC_VOID // (len(made) + len(stuff)))
    rules = SourceRules(unlabelled=unlabelled, semantic=values)
    return LabelSet(name, (*stuff, *made), divisor, rules)


def _semantic_values(root: Path) -> list[int]:
    """Return the values of some of the semantic PNGs beside polygons."""
    found = set[int]()
    for folder in (root / 'semantic', *(root / 'semantic').glob('*/')):
        for file in list_images(folder)[:_LOOKED_AT] if folder.is_dir() else ():
            found.update(np.unique(read_samples(file)).tolist())
    return sorted(found - {SEMANTIC_VOID})


def _color(index: int) -> tuple[int, int, int]:
    """Return one of many colours that are told apart by eye: hues by the golden ratio."""
    shade = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.9 - index % 3 * 0.2, 0.95 - index % 2 * 0.3)
    red, green, blue = (round(255 * v) for v in shade)
    return red, green, blue
