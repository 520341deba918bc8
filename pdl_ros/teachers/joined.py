"""Label sets with joined classes, as labels that leave something open are written: `car|large
vehicle` is one of the two, and nobody said which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdl_ros.datasets.groups import JOIN, Groups, classes_named
from pdl_ros.errors import printable
from pdl_ros.labels import LabelClass, LabelSet, SourceClass
from pdl_ros.labels.label_set import PANOPTIC_VOID


def with_joined(label_set: LabelSet, groups: Groups) -> LabelSet:
    """Return a label set with one more class for each group, whose names are joined by bars and
    whose colour is the mean of theirs. It is a thing where all of them are.
    """
    classes = list(label_set.classes)
    for group in groups:
        members = [label_set.classes[i] for i in group]
        red, green, blue = (sum(c.color[i] for c in members) // len(members) for i in range(3))
        name, thing = JOIN.join(c.name for c in members), all(c.is_thing for c in members)
        classes.append(LabelClass(name, (red, green, blue), thing))
    divisor = min(label_set.label_divisor, PANOPTIC_VOID // len(classes))
    return replace(label_set, classes=tuple(classes), label_divisor=divisor)


def joined_classes(
    classes: Sequence[SourceClass], label_set: LabelSet, where: str
) -> tuple[tuple[SourceClass, ...], Groups]:
    """Return classes of data with joined names as `with_joined` writes them, in whatever order and
    with whatever blanks they stand there, and the groups that they name.

    Raises PdlError, which begins with `where`, for a name that the label set lacks.
    """
    renamed, groups = list[SourceClass](), set[tuple[int, ...]]()
    for c in classes:
        if JOIN in c.name:
            group = classes_named(c.name, label_set, f'{where}: class {printable(repr(c.name))}')
            c = c._replace(name=JOIN.join(label_set.classes[i].name for i in group))
            if len(group) > 1:  # `car|car` is car
                groups.add(group)
        renamed.append(c)
    return tuple(renamed), tuple(sorted(groups))


def members_of(label_set: LabelSet, groups: Groups) -> Groups:
    """Return for each class of the set that `with_joined` gives the train ids that it may be."""
    return (*((i,) for i in range(label_set.num_classes)), *groups)
