"""Several data sets as one: which classes each labels, which it joins, how often it is drawn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pdl_ros.datasets import coco_instances, panoptic_json, yolo
from pdl_ros.datasets.groups import JOIN, Groups, classes_named, is_mixed
from pdl_ros.datasets.layouts import NoSplitError, find_split, open_source
from pdl_ros.datasets.mapped import ClassMap, MappedDataset
from pdl_ros.datasets.mixture_file import SetRules, read_mixture
from pdl_ros.datasets.record import PanopticDataset, Sample
from pdl_ros.datasets.source import Source, require_files
from pdl_ros.errors import PdlError, os_error_reason, printable, require
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.labels.sources import Key, Target

_LOG = logging.getLogger('pdl_ros.datasets')
_MOST = 1_000_000  # pictures of an epoch
_WITH_UNLABELLED = (panoptic_json.LAYOUT, coco_instances.LAYOUT, yolo.LAYOUT)


class MixedSet(NamedTuple):
    """A data set of a mixture, in the classes and groups of the mixture. labelled: all that its
    labels may say, train ids, and groups as in segments; None where nobody knows.
    """

    name: str
    weight: float
    dataset: PanopticDataset
    labelled: frozenset[int] | None = None


class Mixture:
    """A `PanopticDataset` of several: an epoch holds each set in proportion to its weight, and
    every picture at least once, those of small sets several times.
    """

    def __init__(self, label_set: LabelSet, groups: Groups, sets: Sequence[MixedSet]) -> None:
        self.label_set, self.groups, self.sets = label_set, groups, tuple(sets)
        drawn = [s for s in self.sets if s.weight > 0]
        require(bool(drawn), 'No set of the mixture has a weight above 0; none would be drawn.')
        length = max(len(s.dataset) / s.weight for s in drawn)
        require(
            length * sum(s.weight for s in drawn) <= _MOST,
            'The weights of the mixture are too unlike: an epoch would be over a million pictures.',
        )
        counts = [(s.dataset, max(round(s.weight * length), 1)) for s in drawn]
        self._places = [
            (dataset, i % len(dataset)) for dataset, count in counts for i in range(count)
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        dataset, place = self._places[index]
        return dataset[place]


def open_mixture(file: Path, split: str, scored: bool = False) -> Mixture:
    """Open a split of the sets that a YAML file lists, to draw pictures from or, with `scored`, to
    have each once, whatever the weights; warn of sets that lack it. Raises as `open_sets`.
    """
    label_set, groups, sets = open_sets(file, split)
    opened = {part.name for part in sets}
    rules = read_mixture(file)[1].items()
    # One with a split of its own takes no part in others on purpose.
    if lacking := [name for name, rule in rules if name not in opened and not rule.split]:
        _LOG.warning('%s: without a split %r, so left out: %s.', file, split, ', '.join(lacking))
    if scored:
        sets = [part._replace(weight=len(part.dataset)) for part in sets]
    return Mixture(label_set, groups, sets)


def open_sets(
    file: Path, split: str, only: Sequence[str] = ()
) -> tuple[LabelSet, Groups, list[MixedSet]]:
    """Open a split of the sets that a YAML file lists, those of the names `only` where given;
    return the label set, the groups and the sets.

    A set without such a split is left out. Raises PdlError for what is no mixture, for data that
    are not there, and for classes that have no place.
    """
    label_set, rules = read_mixture(file)
    if lost := [name for name in only if name not in rules]:
        raise PdlError(f'{file} has no set {lost[0]!r}; it has {", ".join(rules)}.')
    chosen = {name: rule for name, rule in rules.items() if not only or name in only}
    sources = {name: _open_source(name, rule, split, file) for name, rule in chosen.items()}
    found = {name: source for name, source in sources.items() if source is not None}
    if not found:
        raise NoSplitError(f'None of the sets of {file} has a split {split!r}.')
    tables = {name: _Table(source, rules[name], label_set, name) for name, source in found.items()}
    every = {classes for table in tables.values() for classes in table.used if len(classes) > 1}
    groups = tuple(sorted(every))
    require(
        label_set.num_classes + len(groups) <= SEMANTIC_VOID,
        f'{file} joins classes in {len(groups)} ways; {SEMANTIC_VOID} with the classes fit.',
    )
    sets = []
    for name, table in tables.items():
        dataset = MappedDataset(found[name], label_set, table.class_map(groups))
        sets.append(MixedSet(name, rules[name].weight, dataset, dataset.labelled))
    return label_set, groups, sets


class _Table:
    """What each class of a source may be, as train ids."""

    def __init__(self, source: Source, rules: SetRules, label_set: LabelSet, name: str) -> None:
        self._label_set, self._crowds = label_set, set[int]()
        known = {key: c.id for c in source.classes for key in (c.id, c.name)}
        where = f'Set {name!r}: '

        def find(key: Key) -> int:
            found = known.get(key, key if not source.classes else None)
            if not isinstance(found, int):
                listed = ', '.join(printable(c.name) for c in source.classes[:12]) or 'numbers'
                raise PdlError(
                    f'Set {name!r} names class {printable(repr(key))}, which {source.where} lacks; '
                    f'it has {listed}.'
                )
            return found

        def named(text: str, what: str) -> tuple[int, ...]:
            return classes_named(text, label_set, where + what)

        def of_class(text: str, key: Key) -> tuple[int, ...]:
            return named(text, f'class {printable(repr(key))}')

        self.classes = {find(key): of_class(text, key) for key, text in rules.classes.items()}
        require(
            len(self.classes) == len(rules.classes),
            f'{where}classes has one of them twice, by its name and by its id.',
        )
        self._entries = {str(key).casefold(): text for key, text in rules.classes.items()}
        for c in source.classes:
            if c.id not in self.classes:
                self.classes[c.id] = () if c.is_ignored else self._same(c.name, name)
        self._crowds = {find(key) for key in rules.crowds}
        self._crowds |= {c.id for c in source.classes if not c.is_thing}
        self.unlabelled = named(rules.unlabelled, 'what is unlabelled')
        require(
            not self.unlabelled or source.layout in _WITH_UNLABELLED,
            f'{where}{source.where} is {source.layout}, where a pixel without a label is void, so '
            'that unlabelled has no meaning; write such pixels as a class of a joined name.',
        )
        require(
            bool(self.classes or self.unlabelled),
            f'{where}{source.where} holds numbers without names; keep their label set there as '
            'labels.yaml, or give each number under classes.',
        )
        self.semantic = {v: named(t, f'semantic value {v}') for v, t in rules.semantic.items()}

    def _same(self, class_name: str, of_set: str) -> tuple[int, ...]:
        """Return the classes that a class of the data is without an entry: those of its name; where
        its name is joined, what each part is.
        """
        parts = [name.strip() for name in class_name.split(JOIN)]
        parts = [self._entries.get(name.casefold(), name) for name in parts]
        try:
            found = [classes_named(part, self._label_set, '') for part in parts]
            return tuple(sorted({i for part in found for i in part})) if all(found) else ()
        except PdlError:
            names = ', '.join(c.name for c in self._label_set.classes)
            raise PdlError(
                f'Set {of_set!r} does not say what its class {printable(repr(class_name))} is; '
                f'name it under classes: void, or one or several (joined by bars) of {names}.'
            ) from None

    @property
    def used(self) -> list[tuple[int, ...]]:
        """All that a pixel of the data may be."""
        return [*self.classes.values(), self.unlabelled, *self.semantic.values()]

    def class_map(self, groups: Groups) -> ClassMap:
        """Return the ids that they become with the groups of the mixture."""
        count = self._label_set.num_classes

        def one(classes: tuple[int, ...]) -> int | None:
            if not classes:
                return None
            return classes[0] if len(classes) == 1 else count + groups.index(classes)

        return ClassMap(
            {
                i: Target(one(classes), i in self._crowds or is_mixed(classes, self._label_set))
                for i, classes in self.classes.items()
            },
            one(self.unlabelled),
            {v: one(classes) for v, classes in self.semantic.items()},
            groups,
        )


def _open_source(name: str, rules: SetRules, split: str, file: Path) -> Source | None:
    """Open the split of a set; None where it has no such split."""
    try:
        meant = _meant_split(rules, split)
        if meant is None:
            return None
        source = open_source(rules.folder, meant)
        require_files(source)
    except PdlError as error:
        raise PdlError(f'{file}, set {name!r}: {error}') from None
    except OSError as error:
        raise PdlError(
            f'{file}, set {name!r}: its folder cannot be read: {os_error_reason(error)}.'
        ) from None
    return source


def _meant_split(rules: SetRules, split: str) -> str | None:
    """Return the name by which a set opens a split; None where it has no such split. One with a
    split of its own is as a folder that has no other: `train` takes its `train2017`.
    """
    if rules.split:
        _, own, names = find_split(rules.folder, rules.split)
        return rules.split if (names.stem if names else own).startswith(split) else None
    try:
        find_split(rules.folder, split)
    except NoSplitError:
        return None
    return split
