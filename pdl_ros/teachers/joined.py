"""Label sets with joined classes: `car|large vehicle` is one of the two, and nobody said which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdl_ros.errors import require
from pdl_ros.labels import LabelClass, LabelSet, SourceClass

BAR = '|'


def with_joined(label_set: LabelSet, groups: Sequence[tuple[int, ...]]) -> LabelSet:
    """Return a label set with a class more for each group of train ids, named by bars, whose colour
    is the mean of theirs. It is a thing where all of them are.
    """
    joined = []
    for group in groups:
        members = [label_set.classes[i] for i in group]
        red, green, blue = (
            sum(channel) // len(members) for channel in zip(*(m.color for m in members), strict=True)
        )
        name = BAR.join(m.name for m in members)
        joined.append(LabelClass(name, (red, green, blue), all(m.is_thing for m in members)))
    classes = (*label_set.classes, *joined)
    divisor = min(label_set.label_divisor, 65535 // len(classes))
    return replace(label_set, classes=classes, label_divisor=divisor)


def groups_of(classes: Sequence[SourceClass], label_set: LabelSet) -> list[tuple[int, ...]]:
    """Return the groups that classes of data name with bars; raise PdlError for a name that the
    label set lacks.
    """
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    groups = []
    for source in classes:
        parts = source.name.split(BAR)
        if len(parts) > 1:
            lost = [part for part in parts if part not in ids]
            require(
                not lost,
                f'The data have a class {source.name!r}, and label set {label_set.name!r} has no '
                f'{"".join(lost[:1])!r}.',
            )
            groups.append(tuple(ids[part] for part in parts))
    return groups


def members_of(label_set: LabelSet) -> tuple[tuple[int, ...], ...]:
    """Return for each class of a set of `with_joined` the train ids that it may be."""
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    return tuple(
        (i,) if BAR not in c.name else tuple(ids[part] for part in c.name.split(BAR))
        for i, c in enumerate(label_set.classes)
    )
