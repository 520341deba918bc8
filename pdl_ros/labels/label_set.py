"""The LabelSet: one source of class ids, names, colours and the panoptic id rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pdl_ros.errors import PdlError
from pdl_ros.labels.sources import SourceRules

if TYPE_CHECKING:
    import numpy as np

SEMANTIC_VOID = 255
"""Train id of an unlabelled pixel in a semantic label image."""
PANOPTIC_VOID = 65535
"""Value of an unlabelled pixel in a 16-bit panoptic label image."""

_FOLDER = Path(__file__).parent
_Loader = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # libyaml's is seven times as fast


@dataclass(frozen=True)
class LabelClass:
    """One class: its name, display colour (r, g, b in 0..255) and whether it is countable (a
    `thing`).
    """

    name: str
    color: tuple[int, int, int]
    is_thing: bool


@dataclass(frozen=True)
class LabelSet:
    """Classes in train-id order, and the rule ``panoptic = class_id * label_divisor +
    instance_id``.

    Instance ids start at 1; `stuff` has instance id 0. Void is 255 in semantic and 65535 in
    panoptic maps. `sources` says how the classes of a data set become these; label sets of the same
    classes are equal whatever data they are made for.
    """

    name: str
    classes: tuple[LabelClass, ...]
    label_divisor: int = 1000
    sources: SourceRules = field(default_factory=SourceRules, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= SEMANTIC_VOID:
            raise PdlError(
                f'Label set {self.name!r} has {len(self.classes)} classes; 1 to {SEMANTIC_VOID} '
                'fit.'
            )
        if self.label_divisor < 2:
            raise PdlError(
                f'Label set {self.name!r}: label_divisor is {self.label_divisor}; it must be at '
                'least 2.'
            )
        if self.num_classes * self.label_divisor > PANOPTIC_VOID:
            raise PdlError(
                f'Label set {self.name!r}: label_divisor is {self.label_divisor}, but the ids of '
                f'{self.num_classes} classes must stay below {PANOPTIC_VOID} to fit 16-bit images; '
                f'{PANOPTIC_VOID // self.num_classes} is the most.'
            )
        if len({c.name for c in self.classes}) != len(self.classes):
            raise PdlError(
                f'Label set {self.name!r} names a class twice; every class name must be unique.'
            )
        self.sources.check([c.name for c in self.classes])

    @classmethod
    def load(cls, name_or_file: str | Path) -> LabelSet:
        """Read a shipped label set by name (``camvid``), or a YAML file of the same form."""
        path = Path(name_or_file)
        if path.suffix not in ('.yaml', '.yml'):
            path = _FOLDER / f'{name_or_file}.yaml'
        if not path.is_file():
            shipped = ', '.join(sorted(p.stem for p in _FOLDER.glob('*.yaml')))
            raise PdlError(
                f'No label set {str(name_or_file)!r}; give a YAML file or one of: {shipped}.'
            )
        try:
            return cls.from_dict(yaml.load(path.read_text(encoding='utf-8'), _Loader))
        except yaml.YAMLError as error:
            raise PdlError(f'{path} is not valid YAML: {" ".join(str(error).split())}.') from None
        except PdlError as error:
            raise PdlError(f'{path}: {error}') from None
        except (KeyError, TypeError, ValueError) as error:
            raise PdlError(
                f'{path} is not a label set ({error}); see labels/camvid.yaml for the form.'
            ) from None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LabelSet:
        """Build from plain data: ``{name, label_divisor, classes: [{name, color, thing}]}`` and
        what `SourceRules` reads.
        """
        classes = tuple(
            LabelClass(str(c['name']), _color(c['color']), _flag(c['thing']))
            for c in data['classes']
        )
        divisor = int(data.get('label_divisor', 1000))
        return cls(str(data['name']), classes, divisor, SourceRules.from_dict(data))

    def to_dict(self) -> dict[str, Any]:
        """Return the plain data that `from_dict` reads."""
        classes = [
            {
                'name': c.name,
                'color': list(c.color),
                'thing': c.is_thing,
                **self.sources.of_class(c.name),
            }
            for c in self.classes
        ]
        return {
            'name': self.name,
            'label_divisor': self.label_divisor,
            **self.sources.to_dict(),
            'classes': classes,
        }

    def to_yaml(self) -> str:
        """Return the text of a YAML file that `load` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=200)

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.classes)

    @property
    def thing_ids(self) -> tuple[int, ...]:
        """Train ids of the countable classes, ascending."""
        return tuple(i for i, c in enumerate(self.classes) if c.is_thing)

    @property
    def colors(self) -> np.ndarray:
        """(256, 3) uint8 RGB table indexed by train id; void and unused rows are black."""
        import numpy as np

        table = np.zeros((256, 3), np.uint8)
        table[: self.num_classes] = [c.color for c in self.classes]
        return table


def _color(value: Any) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in value)
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise ValueError(f'colour {value} is outside 0..255')
    return red, green, blue


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f'thing is {value!r} instead of true or false')
    return value
