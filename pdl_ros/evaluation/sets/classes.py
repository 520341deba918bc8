"""What a data set with partial labels tells apart: the classes in which it is scored."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from pdl_ros.datasets.groups import JOIN, Groups
from pdl_ros.errors import require
from pdl_ros.labels import LabelClass, LabelSet
from pdl_ros.labels.label_set import PANOPTIC_VOID

NOTHING = -1
"""The place of a class that a set does not score."""

Classes = frozenset[int]


@dataclass(frozen=True)
class SetClasses:
    """The classes of a set, out of those of a mixture's label set.

    label_set: the classes that are scored, each one of the mixture's or several joined; in the
    order of the first. members: the train ids of the mixture that each is made of. groups: what
    labels leave open among them, as `groups_of` returns it; () for a label that can be none of
    them. targets: what a label of the mixture, a train id or a group, becomes.
    """

    label_set: LabelSet
    members: Groups
    groups: Groups
    targets: dict[int, int]

    def place(self, classes: Iterable[int]) -> int:
        """Return the class of the set for one of the mixture, or for several of which a prediction
        may be any: that of the first which is scored; `NOTHING` where none is.
        """
        for class_id in classes:
            for place, members in enumerate(self.members):
                if class_id in members:
                    return place
        return NOTHING


def set_classes(
    label_set: LabelSet, groups: Groups, labelled: Collection[int], name: str
) -> SetClasses:
    """Return the classes in which a set of a mixture is scored.

    labelled: all that its labels may say, train ids and groups. Classes that it never names alone
    are one where a group names them together, unless another group within that one tells more: such
    a wide group says what a pixel is not. A class is scored where some label says that a pixel is
    one. Raises PdlError, which names the set, where there is none.
    """
    count = label_set.num_classes
    named = {t: frozenset((t,) if t < count else groups[t - count]) for t in sorted(labelled)}
    joined = [*_joined(list(named.values())), *(frozenset((i,)) for i in range(count))]
    parts = {i: next(part for part in joined if i in part) for i in range(count)}
    scored = [p for p in dict.fromkeys(parts.values()) if any(c <= p for c in named.values())]
    require(bool(scored), f'Set {name!r} labels no class that could be scored.')
    scored.sort(key=min)

    targets, left_open = dict[int, int](), list[tuple[int, ...]]()
    for label, classes in named.items():
        places = tuple(i for i, part in enumerate(scored) if classes & part)
        if len(places) == 1 and classes <= scored[places[0]]:
            targets[label] = places[0]
            continue
        if places not in left_open:
            left_open.append(places)
        targets[label] = len(scored) + left_open.index(places)
    members = tuple(tuple(sorted(part)) for part in scored)
    return SetClasses(_label_set(label_set, members), members, tuple(left_open), targets)


def _joined(named: list[Classes]) -> list[Classes]:
    """Return the sets of classes that are one, disjoint."""
    alone = frozenset[int]().union(*(c for c in named if len(c) == 1))
    unknown = {c - alone for c in named if len(c - alone) > 1}
    parts = list[Classes]()
    for classes in sorted(unknown, key=sorted):
        if any(other < classes for other in unknown):
            continue
        beside = [part for part in parts if not part & classes]
        parts = [*beside, classes.union(*(part for part in parts if part & classes))]
    return parts


def _label_set(label_set: LabelSet, members: Groups) -> LabelSet:
    if members == tuple((i,) for i in range(label_set.num_classes)):
        return label_set
    classes = []
    for part in members:
        parts = [label_set.classes[i] for i in part]
        name, is_thing = JOIN.join(c.name for c in parts), all(c.is_thing for c in parts)
        classes.append(LabelClass(name, parts[0].color, is_thing))
    divisor = min(PANOPTIC_VOID // len(classes), label_set.label_divisor * label_set.num_classes)
    return replace(label_set, classes=tuple(classes), label_divisor=divisor)
