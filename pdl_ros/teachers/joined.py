"""Label sets with joined classes, as labels that leave something open are written: `car|large
vehicle` is one of the two, and nobody said which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdl_ros.datasets.groups import JOIN, Groups, classes_named
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


def groups_named(classes: Sequence[SourceClass], label_set: LabelSet, where: str) -> Groups:
    """Return the groups that classes of data name with bars; raise PdlError, which begins with
    `where`, for a name that the label set lacks.
    """
    joined = [c.name for c in classes if JOIN in c.name]
    return tuple(
        sorted({classes_named(name, label_set, f'{where}: class {name!r}') for name in joined})
    )


def members_of(label_set: LabelSet, groups: Groups) -> Groups:
    """Return for each class of the set that `with_joined` gives the train ids that it may be."""
    return (*((i,) for i in range(label_set.num_classes)), *groups)
