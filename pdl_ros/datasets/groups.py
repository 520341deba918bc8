"""Labels that leave open which of several classes a pixel is.

A data set whose bicyclists are one class with their bicycles says of each such pixel `rider|two-
wheeler`: a group of two classes. In training its probability is the sum of theirs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pdl_ros.errors import PdlError, printable
from pdl_ros.labels import LabelSet

Groups = tuple[tuple[int, ...], ...]
"""Train ids of each group, ascending."""
JOIN = '|'
"""Stands between the names of a group."""
VOID = 'void'
"""The name of no class at all."""


def classes_named(text: str, label_set: LabelSet, where: str) -> tuple[int, ...]:
    """Return the train ids, ascending, of a name or of names joined by bars, in any case; () for
    `void`.

    Raises PdlError, which begins with `where`, where the label set lacks one.
    """
    if text.strip().casefold() == VOID:
        return ()
    ids = {c.name.casefold(): i for i, c in enumerate(label_set.classes)}
    names = [name.strip() for name in text.split(JOIN)]
    for name in names:
        if name.casefold() not in ids:
            near = difflib.get_close_matches(name.casefold(), ids, 1)
            hint = f'; is it {near[0]!r}?' if near else f'; it has {", ".join(ids)}.'
            raise PdlError(
                f'{where} becomes {printable(repr(name))}, which label set {label_set.name!r} '
                f'lacks{hint}'
            )
    return tuple(sorted({ids[name.casefold()] for name in names}))


def are_things(label_set: LabelSet, groups: Groups) -> list[bool]:
    """Tell of each class, and then of each group, whether it is countable; of a group with stuff
    in it, whether any of it is.
    """
    single = [c.is_thing for c in label_set.classes]
    return [*single, *(any(single[i] for i in group) for group in groups)]


def ids_within(names: Iterable[str], label_set: LabelSet, groups: Groups) -> frozenset[int]:
    """Return the train ids of some classes, and of the groups with no other class in them.

    Raises KeyError where the label set lacks one.
    """
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    single = frozenset(ids[name] for name in names)
    return single | {len(ids) + g for g, group in enumerate(groups) if single.issuperset(group)}


def is_mixed(group: tuple[int, ...], label_set: LabelSet) -> bool:
    """Tell whether a group has stuff and things in it, so that nothing in it can be counted."""
    return len({label_set.classes[i].is_thing for i in group}) > 1
