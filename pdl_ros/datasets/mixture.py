"""Several data sets as one: which classes each labels, which it joins, how often it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pdl_ros.datasets.groups import Groups, classes_named, is_mixed
from pdl_ros.datasets.layouts import open_source, recognise
from pdl_ros.datasets.mapped import ClassMap, MappedDataset
from pdl_ros.datasets.record import PanopticDataset, Sample
from pdl_ros.datasets.source import Source, require_files
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.labels import LabelSet
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.labels.sources import Key, Target

_KEYS = ('folder', 'split', 'weight', 'classes', 'crowds', 'unlabelled', 'semantic')
_MOST = 1_000_000  # pictures of an epoch


@dataclass(frozen=True)
class SetRules:
    """One entry of a mixture's file.

    folder: of the data set, in any known layout. split: its own name of the split, '' = the one
    that is asked for. weight: share of the pictures drawn, relative to the other sets. classes:
    what a class of the data (its name, or its id) is in the label set: a name, names joined by
    bars, or void; without an entry, the class of the same name. crowds: classes of the data whose
    instances are not known. unlabelled: what a pixel is that nobody labelled. semantic: what values
    of semantic PNGs beside polygons are.
    """

    folder: Path
    split: str
    weight: float
    classes: Mapping[Key, str]
    crowds: tuple[Key, ...]
    unlabelled: str
    semantic: Mapping[int, str]


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


def open_mixture(file: Path, split: str, only: Sequence[str] = ()) -> Mixture:
    """Open a split of the sets that a YAML file lists, to draw pictures from; as `open_sets`."""
    return Mixture(*open_sets(file, split, only))


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
    require(bool(found), f'None of the sets of {file} has a split {split!r}.')
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


def read_mixture(file: Path) -> tuple[LabelSet, dict[str, SetRules]]:
    """Read the file of a mixture: its label set, and its sets by their names."""
    data = _read(file)
    label_set = _label_set(file, data)
    return label_set, {str(n): _rules(file, str(n), v) for n, v in data['sets'].items()}


def read_network_classes(file: Path, network: LabelSet) -> Groups:
    """Return what each class of a network is in the mixture: train ids, () for void.

    The file's `networks` says so by the name of the network's label set; without an entry, a class
    is the one of its name. Raises PdlError where a class has no place.
    """
    data = _read(file)
    label_set, known = _label_set(file, data), data.get('networks') or {}
    require(isinstance(known, dict), f'{file}: networks is no table of label sets.')
    entries = known.get(network.name) or {}
    where = f'{file}, networks, {network.name}'
    require(isinstance(entries, dict), f'{where} is no table of classes.')
    names = [c.name for c in network.classes]
    if lost := [key for key in entries if key not in names]:
        raise PdlError(
            f'{where} has the class {printable(repr(lost[0]))}, which the network lacks; it has '
            f'{", ".join(names)}.'
        )
    homeless = {n for n in names if n not in entries} - {c.name for c in label_set.classes}
    if homeless:
        raise PdlError(
            f'{file} does not say what the classes {", ".join(sorted(homeless))} of the network '
            f'are in label set {label_set.name!r}; name each under networks, {network.name}: a '
            'class, several joined by bars, or void.'
        )
    return tuple(
        classes_named(_text(entries.get(n, n)), label_set, f'{where}: class {printable(n)}')
        for n in names
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise PdlError(f'{file} cannot be read: {error.strerror}.') from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise PdlError(f'{file} is not valid YAML: {" ".join(str(error).split())}.') from None
    require(
        isinstance(data, dict) and isinstance(data.get('sets'), dict) and bool(data['sets']),
        f'{file} is no mixture of data sets; it has the keys labels and sets (docs/datasets.md).',
    )
    return dict(data)


def _label_set(file: Path, data: Mapping[str, Any]) -> LabelSet:
    labels = str(data.get('labels', ''))
    own = file.parent / labels
    return LabelSet.load(own if labels.endswith(('.yaml', '.yml')) else labels)


class _Table:
    """What each class of a source may be, as train ids."""

    def __init__(self, source: Source, rules: SetRules, label_set: LabelSet, name: str) -> None:
        self._label_set, self._crowds = label_set, set[int]()
        known = {key: c.id for c in source.classes for key in (c.id, c.name)}
        where = f'Set {name!r}: class'

        def find(key: Key) -> int:
            found = known.get(key, key if not source.classes else None)
            if not isinstance(found, int):
                listed = ', '.join(printable(c.name) for c in source.classes[:12]) or 'numbers'
                raise PdlError(
                    f'Set {name!r} names class {printable(repr(key))}, which {source.where} lacks; '
                    f'it has {listed}.'
                )
            return found

        def named(text: str, key: Key) -> tuple[int, ...]:
            return classes_named(text, label_set, f'{where} {printable(repr(key))}')

        self.classes = {find(key): named(text, key) for key, text in rules.classes.items()}
        for c in source.classes:
            if c.id not in self.classes:
                self.classes[c.id] = () if c.is_ignored else named(c.name, c.name)
        self._crowds = {find(key) for key in rules.crowds}
        self._crowds |= {c.id for c in source.classes if not c.is_thing}
        self.unlabelled = named(rules.unlabelled, 'unlabelled')
        self.semantic = {v: named(text, v) for v, text in rules.semantic.items()}

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
        if rules.split not in ('', split) or not _has_split(rules.folder, split):
            return None
        source = open_source(rules.folder, split)
        require_files(source)
    except PdlError as error:
        raise PdlError(f'{file}, set {name!r}: {error}') from None
    return source


def _has_split(folder: Path, split: str) -> bool:
    _, splits = recognise(folder)
    listed = splits == [''] and (folder / f'{split}.txt').is_file()
    return listed or any(s.startswith(split) for s in splits)


def _rules(file: Path, name: str, data: Any) -> SetRules:
    where = f'{file}, set {printable(repr(name))}'
    require(isinstance(data, dict) and 'folder' in data, f'{where} has no folder.')
    for key in data:
        require(key in _KEYS, f'{where} has the key {key!r}; it can have {", ".join(_KEYS)}.')
    try:
        return SetRules(
            file.parent / str(data['folder']),
            str(data.get('split', '')),
            _weight(data.get('weight', 1.0)),
            {_key(k): _text(v) for k, v in (data.get('classes') or {}).items()},
            tuple(_key(k) for k in data.get('crowds') or ()),
            _text(data.get('unlabelled')),
            {int(v): _text(n) for v, n in (data.get('semantic') or {}).items()},
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise PdlError(f'{where} has a wrong value: {error}.') from None


def _weight(value: Any) -> float:
    weight = float(value)
    if not 0 <= weight < 1e6:
        raise ValueError(f'weight is {weight}; it must not be negative')
    return weight


def _key(value: Any) -> Key:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f'{value!r} is neither a name nor an id')
    return value


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return '|'.join(_text(v) for v in value)
    return 'void' if value is None else str(value)
