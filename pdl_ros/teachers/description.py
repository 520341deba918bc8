"""What must be known of a teacher beside its file: how it takes pictures, and what it names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pdl_ros.datasets.groups import JOIN
from pdl_ros.errors import PdlError, printable, require
from pdl_ros.labels import LabelSet, SourceClass
from pdl_ros.labels.sources import SourceRules, resolve

SEMANTIC, BOXES = 'semantic', 'boxes'
_FOLDER = Path(__file__).parent / 'descriptions'
_ORDERS = ('rgb', 'bgr')
_KEYS = {'kind', 'size', 'order', 'range', 'mean', 'std', 'classes', 'becomes'}
_LARGEST = 4096  # pixels an edge


@dataclass(frozen=True)
class TeacherDescription:
    """How a teacher takes pictures, and what it names.

    kind: `semantic`, logits (1, C, h, w), or `boxes`, the raw rows of YOLOX (1, N, 5 + C). size:
    (height, width) of its input. order: rgb or bgr. range: what white is before mean and std are
    applied, 1 or 255. classes: in the order of its outputs. becomes: for a class of the teacher the
    names it may have in a label set, of which the first that the label set has is taken; several
    joined by bars: any of those.
    """

    name: str
    kind: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    order: str = 'rgb'
    range: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    becomes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(
            self.kind in (SEMANTIC, BOXES), f'kind is {self.kind!r}; it is {SEMANTIC} or {BOXES}.'
        )
        require(self.order in _ORDERS, f'order is {self.order!r}; it is rgb or bgr.')
        require(self.range in (1, 255), f'range is {self.range}; it is 1 or 255.')
        require(
            len(self.size) == 2 and all(32 <= edge <= _LARGEST for edge in self.size),
            f'size is {list(self.size)}; give height and width, from 32 to {_LARGEST}.',
        )
        require(
            len(self.mean) == len(self.std) == 3
            and all(map(math.isfinite, (*self.mean, *self.std)))
            and min(self.std) > 0,
            'mean and std are three numbers each, and std is above 0.',
        )
        require(len(self.classes) > 0, 'classes is empty; name those of the network in order.')
        require(
            len(set(self.classes)) == len(self.classes), 'classes names one twice; each is one.'
        )
        unknown = sorted(set(self.becomes) - set(self.classes))
        require(not unknown, f'becomes names {unknown[:1]}, which is none of the classes.')

    @classmethod
    def find(cls, network: Path, description: Path | None = None) -> TeacherDescription:
        """Read the description of a network's file: the one that is given, the YAML of the same
        name beside it, or the one that is shipped for a file of that name.
        """
        beside, shipped = network.with_suffix('.yaml'), _FOLDER / f'{network.stem}.yaml'
        path = description or (beside if beside.is_file() else shipped)
        if description is None and not path.is_file():
            known = ', '.join(sorted(file.stem for file in _FOLDER.glob('*.yaml')))
            raise PdlError(
                f'Nothing says how {network} takes pictures; write {beside.name} beside it, or '
                f'name one with --described (shipped are those of {known}).'
            )
        return cls.load(path)

    @classmethod
    def load(cls, path: Path) -> TeacherDescription:
        """Read a description; raise PdlError where it is none."""
        try:
            data = yaml.safe_load(path.read_text(encoding='utf-8'))
            require(isinstance(data, dict), 'it is no table of keys and values.')
            return cls._from_dict(path.stem, data)
        except OSError as error:
            raise PdlError(f'{path} cannot be read: {error.strerror}.') from None
        except (yaml.YAMLError, RecursionError) as error:
            raise PdlError(f'{path} is not valid YAML: {" ".join(str(error).split())}.') from None
        except PdlError as error:
            raise PdlError(f'{path} does not describe a teacher: {error}') from None
        except KeyError as error:
            raise PdlError(f'{path} does not describe a teacher: it lacks {error}.') from None
        except (OverflowError, TypeError, ValueError) as error:
            raise PdlError(f'{path} does not describe a teacher ({error}).') from None

    @classmethod
    def _from_dict(cls, name: str, data: dict[str, Any]) -> TeacherDescription:
        odd = sorted(printable(str(key)) for key in data if key not in _KEYS)
        require(not odd, f'it has no key {odd[:1]}; the keys are {", ".join(sorted(_KEYS))}.')
        becomes = data.get('becomes') or {}
        return cls(
            name,
            str(data['kind']),
            _pair(data['size']),
            tuple(str(c) for c in _list(data['classes'])),
            str(data.get('order', 'rgb')),
            float(data.get('range', 1)),
            tuple(float(v) for v in _list(data.get('mean', [0, 0, 0]))),
            tuple(float(v) for v in _list(data.get('std', [1, 1, 1]))),
            {str(k): tuple(str(n) for n in _names(v)) for k, v in dict(becomes).items()},
        )

    def targets(self, label_set: LabelSet) -> tuple[tuple[int, ...], ...]:
        """Return for each class of the teacher what it is in a label set: no train id, one, or
        several of which it may be any.

        What `becomes` does not name follows the rules of the label set (`from`, and equal names).
        """
        ids = {c.name: i for i, c in enumerate(label_set.classes)}
        found = {name: _first_known(names, ids) for name, names in self.becomes.items()}
        sources = tuple(SourceClass(i, name) for i, name in enumerate(self.classes))
        known = {
            name: kept
            for name, keys in label_set.sources.merged.items()
            if (kept := tuple(key for key in keys if key in self.classes))
        }
        rules = LabelSet(
            label_set.name,
            label_set.classes,
            label_set.label_divisor,
            SourceRules(known, ignores_rest=True),
        )
        others = resolve(rules, sources, f'The teacher {self.name}')
        targets: list[tuple[int, ...]] = []
        for i, name in enumerate(self.classes):
            other = others[i].class_id
            targets.append(found.get(name) or (() if other is None else (other,)))
        require(
            any(targets),
            f'No class of the teacher {self.name} is one of label set {label_set.name!r}; say '
            'under becomes what its classes are there.',
        )
        return tuple(targets)


def _first_known(names: Sequence[str], ids: Mapping[str, int]) -> tuple[int, ...]:
    """Return the train ids of the first name, or names joined by bars, that a label set has."""
    for name in names:
        parts = name.split(JOIN)
        if all(part in ids for part in parts):
            return tuple(ids[part] for part in parts)
    return ()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f'{value!r} is no list')
    return value


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _pair(value: Any) -> tuple[int, int]:
    height, width = (int(edge) for edge in _list(value))
    return height, width
