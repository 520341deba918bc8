"""How the classes of a data set become those of a label set: merged, ignored, taken for crowds."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pdl_ros.errors import PdlError, printable, require

if TYPE_CHECKING:
    from pdl_ros.labels.label_set import LabelSet

Key = int | str
"""A class as whoever labelled the data calls it: its id, or its name in any case."""


class SourceClass(NamedTuple):
    """A class of a data set. alias: a second name. is_ignored: the data set leaves it out of its
    own evaluation or never uses it, so it is void unless a label set asks for it.
    """

    id: int
    name: str
    is_thing: bool = True
    color: tuple[int, int, int] | None = None
    alias: str = ''
    is_ignored: bool = False


class Target(NamedTuple):
    """What a class of a data set becomes: a train id (None: void), and whether its regions are
    crowds: several things that nobody told apart.
    """

    class_id: int | None
    is_crowd: bool = False


VOID = Target(None)


@dataclass(frozen=True)
class SourceRules:
    """The part of a label set's YAML that is about the data.

    merged: what becomes a class, by the class's name (`from`); without an entry that is the data's
    class of the same name. crowds: what becomes crowds of it (`crowd_from`). ignored: what becomes
    void; ignores_rest: so does whatever no class is made from. unlabelled: the class of pixels that
    nobody labelled, void where None. semantic: values of semantic PNGs beside polygons to class
    names, None for void; empty: the values are train ids.
    """

    merged: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    crowds: Mapping[str, tuple[Key, ...]] = field(default_factory=dict)
    ignored: tuple[Key, ...] = ()
    ignores_rest: bool = False
    unlabelled: str | None = None
    semantic: Mapping[int, str | None] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SourceRules:
        """Read the keys `ignore`, `unlabelled` and `semantic` of a label set, and `from` and
        `crowd_from` of its classes.
        """
        ignore = data.get('ignore', ())
        unlabelled = data.get('unlabelled')
        semantic = data.get('semantic') or {}
        if not isinstance(semantic, dict):
            raise ValueError('semantic is no table of values and names')
        return cls(
            _of_classes(data, 'from'),
            _of_classes(data, 'crowd_from'),
            () if ignore == 'rest' else _keys(ignore),
            ignore == 'rest',
            None if unlabelled in (None, 'void') else str(unlabelled),
            {int(v): None if n in (None, 'void') else str(n) for v, n in semantic.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of a label set that `from_dict` reads, but those of its classes."""
        data = {
            'ignore': 'rest' if self.ignores_rest else list(self.ignored),
            'unlabelled': self.unlabelled,
            'semantic': {value: name or 'void' for value, name in self.semantic.items()},
        }
        return {key: value for key, value in data.items() if value}

    def of_class(self, name: str) -> dict[str, list[Key]]:
        """Return the keys of one class that `from_dict` reads."""
        lists = {'from': self.merged.get(name), 'crowd_from': self.crowds.get(name)}
        return {key: list(value) for key, value in lists.items() if value}

    @property
    def maps_numbers(self) -> bool:
        """Whether they say what classes are made of by ids, as for data without names."""
        return any(isinstance(key, int) for keys in self.merged.values() for key in keys)

    def check(self, names: Sequence[str]) -> None:
        """Raise PdlError where `unlabelled` or `semantic` name a class that there is not."""
        for name in (self.unlabelled, *self.semantic.values()):
            require(
                name is None or name in names,
                f'{name!r} is none of its classes; unlabelled and semantic name a class, or void.',
            )


def resolve(label_set: LabelSet, classes: Sequence[SourceClass], where: str) -> dict[int, Target]:
    """Say for each class of a data set, by its id, what it becomes in a label set.

    classes: those of the data; none, where the data are numbers only: then the ids are train ids
    unless the label set maps numbers. Data in the very classes of the label set need no rules, and
    follow none. where: the data, for messages. Raises PdlError where a class has no place, has two,
    or is asked for and not there.
    """
    if {c.name for c in classes} == {c.name for c in label_set.classes}:
        label_set = replace(label_set, sources=SourceRules())
    found, rules = _explicit(label_set, classes, where), label_set.sources
    if not classes:
        count = 0 if rules.maps_numbers else label_set.num_classes
        return {**{i: Target(i) for i in range(count)}, **found}
    for class_id, c in enumerate(label_set.classes):
        if not rules.merged.get(c.name):
            for source in classes:
                if c.name.casefold() in (source.name.casefold(), source.alias.casefold()):
                    found.setdefault(source.id, Target(class_id))
    homeless = [c for c in classes if c.id not in found]
    found.update({s.id: VOID for s in homeless if s.is_ignored or rules.ignores_rest})
    lost = [source.name for source in homeless if source.id not in found]
    if lost:
        raise PdlError(_homeless(lost, label_set.name, where))
    # Stuff of the data that is a thing here: nobody told it apart.
    stuff = {c.id for c in classes if not c.is_thing}
    things = set(label_set.thing_ids)
    return {
        i: target._replace(is_crowd=True) if i in stuff and target.class_id in things else target
        for i, target in found.items()
    }


def _explicit(label_set: LabelSet, classes: Sequence[SourceClass], where: str) -> dict[int, Target]:
    """Return the targets of what the label set names under `from`, `crowd_from` and `ignore`."""
    rules, found = label_set.sources, dict[int, Target]()
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    wanted = [(key, VOID) for key in rules.ignored]
    wanted += [(k, Target(ids[name])) for name, keys in rules.merged.items() for k in keys]
    wanted += [(k, Target(ids[name], True)) for name, keys in rules.crowds.items() for k in keys]
    for key, target in wanted:
        for source in _find(key, classes, label_set.name, where):
            if found.setdefault(source, target) != target:
                raise PdlError(
                    f'Label set {label_set.name!r} gives {printable(repr(key))} of {where} two '
                    'places; name it once under from, crowd_from and ignore.'
                )
    return found


def _find(key: Key, classes: Sequence[SourceClass], name: str, where: str) -> list[int]:
    if not classes:  # a name is about other data
        return [key] if isinstance(key, int) else []
    if isinstance(key, int):
        found = [c.id for c in classes if c.id == key]
    else:
        wanted = key.casefold()
        found = [c.id for c in classes if wanted in (c.name.casefold(), c.alias.casefold())]
    if not found:
        near = difflib.get_close_matches(str(key), [c.name for c in classes], 1)
        hint = f'; is it {printable(near[0])!r}?' if near else '.'
        raise PdlError(
            f'Label set {name!r} names {printable(repr(key))}, which {where} lacks{hint}'
        )
    return found


def _homeless(names: Sequence[str], label_set: str, where: str) -> str:
    listed = ', '.join(printable(name) for name in names[:5])
    more = ', ...' if len(names) > 5 else ''
    count = f'{len(names)} classes' if len(names) > 1 else 'a class'
    return (
        f'{where} has {count} that label set {label_set!r} lacks ({listed}{more}); give the label '
        'set of these data, or name each in its YAML, under from of a class or under ignore.'
    )


def _of_classes(data: Mapping[str, Any], key: str) -> dict[str, tuple[Key, ...]]:
    return {str(c['name']): _keys(c[key]) for c in data['classes'] if c.get(key)}


def _keys(value: Any) -> tuple[Key, ...]:
    if isinstance(value, (str, int)):
        value = [value]
    if not isinstance(value, Iterable):
        raise ValueError(f'{value!r} is no list of names and ids')
    keys = tuple(value)
    for key in keys:
        if isinstance(key, bool) or not isinstance(key, (str, int)):
            raise ValueError(f'{key!r} is neither a name nor an id')
    return keys
