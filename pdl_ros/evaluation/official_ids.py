"""The numbers that published data sets and their evaluation tools have for classes and images."""

from __future__ import annotations

from pdl_ros.datasets.cityscapes import CLASSES
from pdl_ros.labels import LabelSet

_CITYSCAPES = tuple(c.id for c in CLASSES if not c.is_ignored)
# COCO counts things to 90 and stuff to 200 and leaves some numbers out; in the order of ids.
_COCO_UNUSED = {
    *(12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91, 94, 96, 97, 98, 99, 101, 102, 103, 104, 105),
    *(106, 108, 110, 111, 113, 114, 115, 116, 117, 120, 121, 123, 124, 126, 127, 129, 131, 132),
    *(134, 135, 136, 137, 139, 140, 142, 143, 146, 150, 152, 153, 157, 158, 160, 162, 163, 164),
    *(165, 167, 169, 170, 172, 173, 174, 179, 182, 183),
}
_COCO = tuple(i for i in range(1, 201) if i not in _COCO_UNUSED)


def class_ids(label_set: LabelSet) -> tuple[int, ...]:
    """Return the official id of every train id; the train ids themselves where nobody gave any."""
    known = {'cityscapes': _CITYSCAPES, 'coco': _COCO}.get(label_set.name, ())
    if len(known) == label_set.num_classes:
        return known
    return tuple(range(label_set.num_classes))


def image_id(name: str) -> int | str:
    """Return the id of an image by its name: COCO's are numbers, Cityscapes' are names."""
    return int(name) if name.isascii() and name.isdigit() else name
