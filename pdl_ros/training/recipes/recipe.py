"""Find, read, change and write recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from pdl_ros.errors import PdlError, os_error_reason
from pdl_ros.network.variants import VARIANTS, Variant
from pdl_ros.runtime.files import atomic_write
from pdl_ros.training.recipes.reading import settings_from
from pdl_ros.training.settings import TrainSettings, railing_class, require_known

_FOLDER = Path(__file__).parent
_LARGEST = 100_000  # bytes; the shipped ones have under 2,000
# Whose weights of which label set; what is not here has a recipe of its own, or CamVid's.
_BY_RELEASE = {
    ('pdl_ros', 'street'): 'street_efficientnet_lite0',
    ('detectron2', 'cityscapes'): 'detectron2_cityscapes',
    ('detectron2', 'coco'): 'detectron2_coco',
    ('authors', 'cityscapes'): 'authors_cityscapes',
    ('paper', 'cityscapes'): 'paper_cityscapes',
    ('paper', 'mapillary'): 'paper_mapillary',
    ('paper', 'coco'): 'paper_coco',
}
_BY_BACKBONE = {
    ('authors', 'xception65'): 'authors_cityscapes_xception65',
    ('authors', 'mobilenet_v2'): 'authors_cityscapes_mobilenet_v2',
}
_OURS = 'camvid_efficientnet_lite0'


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(path.stem for path in _FOLDER.glob('*.yaml'))


def default_recipe(variant: Variant) -> str:
    """Return the name of the recipe that a variant was made with, or would be."""
    names = recipe_names()
    if variant.name in names:
        return variant.name
    published = VARIANTS.get(variant.name, variant)  # with the classes that it was published for
    return (
        _BY_BACKBONE.get((published.release, published.backbone))
        or _BY_RELEASE.get((published.release, published.label_set.name))
        or _OURS
    )


def recipe(variant: Variant) -> TrainSettings:
    """Return the training settings that a variant was made with, or would be."""
    return load_recipe(default_recipe(variant))


def recipe_for(
    variant: Variant, name_or_file: str | Path | None = None, changes: Sequence[str] = ()
) -> TrainSettings:
    """Return the settings to train a variant with: a recipe, with None its own, with changes.

    A variant's own recipe is also for other classes than its own: those of its `rare_classes` and
    `paste_rare` that there are not are left out, and its railings where there is no class for them.
    Others are a mistake, PdlError.
    """
    settings = load_recipe(name_or_file or default_recipe(variant), changes)
    own = None if name_or_file else recipe(variant)
    classes = variant.label_set.classes
    rare = _known(
        'rare_classes',
        [c.name for c in classes],
        settings.targets.rare_classes,
        own.targets.rare_classes if own else (),
    )
    pasted = _known(
        'paste_rare',
        [c.name for c in classes if c.is_thing],
        settings.augmentation.paste_rare,
        own.augmentation.paste_rare if own else (),
        'things',
    )
    augmentation = replace(settings.augmentation, paste_rare=pasted)
    if augmentation.railing:
        try:
            railing_class(augmentation, variant.label_set)
        except PdlError:
            if not own or _railing(own) != _railing(settings):
                raise
            augmentation = replace(augmentation, railing=0.0)
    return replace(
        settings,
        augmentation=augmentation,
        targets=replace(settings.targets, rare_classes=rare),
    )


def _known(
    key: str,
    known: Sequence[str],
    names: tuple[str, ...],
    may_go: tuple[str, ...],
    what: str = 'classes',
) -> tuple[str, ...]:
    """Return the names of a key without those that may go and are not known; PdlError for others
    that are not.
    """
    kept = tuple(n for n in names if n in known or n not in may_go)
    require_known(key, kept, known, what)
    return kept


def _railing(settings: TrainSettings) -> tuple[float, str]:
    return settings.augmentation.railing, settings.augmentation.railing_class


def load_recipe(name_or_file: str | Path, changes: Sequence[str] = ()) -> TrainSettings:
    """Read a recipe by the name of a shipped one, or a YAML file of the same form.

    `changes` are such as ``optimizer.lr=2e-3``, applied in their order. Raises PdlError in one
    sentence for whatever is wrong, with the file and the key.
    """
    path = _find(name_or_file)
    try:
        return settings_from(TrainSettings, with_changes(_read(path), changes))
    except PdlError as error:
        raise PdlError(f'Recipe {path}: {error}') from None


def with_changes(data: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return a recipe's plain data with changes such as ``optimizer.lr=2e-3``."""
    changed: dict[str, Any] = {k: dict(v) if isinstance(v, dict) else v for k, v in data.items()}
    for change in changes:
        key, equals, text = change.partition('=')
        where = key.strip().split('.')
        if not equals or not all(where) or len(where) > 2:
            raise PdlError(
                f'--set is {change!r}; give a key of the recipe and its value, such as '
                'optimizer.lr=2e-3 or steps=500.'
            )
        part = changed
        if len(where) == 2:
            part = changed.setdefault(where[0], {})
            if not isinstance(part, dict):
                raise PdlError(f'--set is {change!r}, but {where[0]} has no parts; set it itself.')
        try:
            part[where[-1]] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise PdlError(f'--set is {change!r}; {text!r} is no value of YAML.') from None
    return changed


def write_recipe(settings: TrainSettings, path: Path) -> None:
    """Write a recipe as YAML with every value, to be read, copied and edited."""
    text = yaml.safe_dump(_plain(asdict(settings)), sort_keys=False, default_flow_style=None)
    with atomic_write(path) as file:
        file.write(f'# The whole recipe of the training in this folder.\n{text}'.encode())


def _find(name_or_file: str | Path) -> Path:
    path = Path(name_or_file)
    if path.suffix not in ('.yaml', '.yml'):
        path = _FOLDER / f'{path.name}.yaml'
    if not path.is_file():
        raise PdlError(
            f'No recipe {str(name_or_file)!r}; give a YAML file or one of: '
            f'{", ".join(recipe_names())}.'
        )
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding='utf-8') as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise PdlError('it is longer than any recipe; give another file.')
        data = yaml.safe_load(text)
    except OSError as error:
        raise PdlError(f'it cannot be read: {os_error_reason(error)}.') from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = ' '.join(str(error).split()) or 'nested too deeply'
        raise PdlError(f'it is not valid YAML: {reason}.') from None
    if not isinstance(data, dict):
        raise PdlError('it is no list of keys and values; copy a shipped one.')
    return data


def _plain(value: Any) -> Any:
    """Return nested dictionaries and tuples as what YAML has."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return list(value) if isinstance(value, tuple) else value
