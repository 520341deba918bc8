"""The label set that a pdl_ros/LabelInfo message describes, from ROS or a bag."""

from __future__ import annotations

from typing import Any

from pdl_ros.errors import printable, require
from pdl_ros.labels.label_set import SEMANTIC_VOID, LabelClass, LabelSet


def label_set_of(message: Any) -> LabelSet:
    """Return the label set of a message. Raises PdlError where it contradicts itself."""
    names, things = list(message.class_names), [bool(thing) for thing in message.is_thing]
    colors = bytes(message.colors)
    require(
        len(names) == len(things) == len(colors) / 3 <= SEMANTIC_VOID,
        f'The label info has {len(names)} names, {len(things)} flags and {len(colors)} bytes of '
        'colours; it must have one, one and three for each class.',
    )
    classes = (
        LabelClass(printable(name), (colors[3 * i], colors[3 * i + 1], colors[3 * i + 2]), thing)
        for i, (name, thing) in enumerate(zip(names, things, strict=True))
    )
    return LabelSet(printable(message.label_set), tuple(classes), int(message.label_divisor))
