"""The file of a mixture of data sets: its label set, its sets, and the classes of networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pdl_ros.datasets.groups import JOIN, VOID, Groups, classes_named
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.labels import LabelSet
from pdl_ros.labels.sources import Key

_TOP = ('labels', 'sets', 'networks')
_KEYS = ('folder', 'split', 'weight', 'classes', 'crowds', 'unlabelled', 'semantic')


@dataclass(frozen=True)
class SetRules:
    """One entry of a mixture's file.

    folder: of the data set, in any known layout. split: the only one in which it takes part, '' =
    all that it has. weight: share of the pictures drawn, relative to the other sets. classes:
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


def read_mixture(file: Path) -> tuple[LabelSet, dict[str, SetRules]]:
    """Read the file of a mixture: its label set, and its sets by their names."""
    data = _read(file)
    label_set = _label_set(file, data)
    return label_set, {n: _rules(file, n, v) for n, v in data['sets'].items()}


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
    try:
        texts = [_names(entries.get(n, n), f'class {n}') for n in names]
    except TypeError as error:
        raise PdlError(f'{where} has a wrong value: {printable(str(error))}.') from None
    return tuple(
        classes_named(text, label_set, f'{where}: class {printable(n)}')
        for n, text in zip(names, texts, strict=True)
    )


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key that stands twice in a table is a mistake: the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[tuple[str, str]]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'{printable(key.value)!r} stands twice', problem_mark=key.start_mark
                )
            seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    try:
        # A SafeLoader: it makes nothing but plain data.
        data = yaml.load(file.read_text(encoding='utf-8'), _OnceLoader)
    except OSError as error:
        raise PdlError(f'{file} cannot be read: {error.strerror}.') from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise PdlError(f'{file} is not valid YAML: {" ".join(str(error).split())}.') from None
    require(
        isinstance(data, dict) and isinstance(data.get('sets'), dict) and bool(data['sets']),
        f'{file} is no mixture of data sets; it has the keys labels and sets '
        '(docs/partial_labels.md).',
    )
    for key in data:
        require(
            key in _TOP,
            f'{file} has the key {printable(repr(key))}; it can have {", ".join(_TOP)}.',
        )
    for name in data['sets']:
        require(
            isinstance(name, str) and bool(name) and name.isprintable(),
            f'{file} has a set of the name {_shown(name)}; give a text, if need be in quotes.',
        )
    return dict(data)


def _label_set(file: Path, data: Mapping[str, Any]) -> LabelSet:
    labels = data.get('labels')
    require(
        isinstance(labels, str),
        f'{file} does not say in which classes it is; give labels, a shipped label set or a file.',
    )
    own = file.parent / str(labels)
    try:
        return LabelSet.load(own if own.suffix in ('.yaml', '.yml') else str(labels))
    except PdlError as error:
        raise PdlError(f'{file}, labels: {error}') from None


def _rules(file: Path, name: str, data: Any) -> SetRules:
    where = f'{file}, set {name!r}'
    require(isinstance(data, dict) and 'folder' in data, f'{where} has no folder.')
    for key in data:
        require(
            key in _KEYS,
            f'{where} has the key {printable(repr(key))}; it can have {", ".join(_KEYS)}.',
        )
    try:
        return SetRules(
            file.parent / _text(data['folder'], 'folder'),
            _text(data.get('split') or '', 'split'),
            _weight(data.get('weight', 1.0)),
            {_key(k): _names(v, f'class {k}') for k, v in _table(data, 'classes').items()},
            tuple(_key(k) for k in _list(data.get('crowds') or [], 'crowds')),
            _names(data.get('unlabelled'), 'unlabelled'),
            {_value(k): _names(v, f'semantic {k}') for k, v in _table(data, 'semantic').items()},
        )
    except (TypeError, ValueError) as error:
        raise PdlError(f'{where} has a wrong value: {printable(str(error))}.') from None


def _table(data: Mapping[str, Any], name: str) -> dict[Any, Any]:
    value = data.get(name) or {}
    if not isinstance(value, dict):
        raise TypeError(f'{name} is no table, a line for each class')
    return value


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f'{name} is no list, as [car, person] is one')
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f'{name} is {_shown(value)}, which is no text')
    return value


def _weight(value: Any) -> float:
    try:
        weight = float(value)
    except (OverflowError, TypeError, ValueError):
        weight = -1.0
    if isinstance(value, bool) or not 0 <= weight < 1e6:
        raise ValueError(f'weight is {_shown(value)}; give a number from 0 to a million')
    return weight


def _value(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f'semantic names {_shown(value)}, which is no value of a PNG')
    return value


def _key(value: Any) -> Key:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f'{_shown(value)} is neither a name nor an id')
    return value


def _names(value: Any, name: str) -> str:
    """Return what is written as a name, as names joined by bars, or as a list of them."""
    if isinstance(value, list):
        return JOIN.join(_text(v, name) for v in value)
    return VOID if value is None else _text(value, name)


def _shown(value: Any) -> str:
    """Return a value of an untrusted file in short; lists in lists may have no end."""
    if isinstance(value, (list, dict)):
        return 'a list' if isinstance(value, list) else 'a table'
    return repr(value)[:40]
