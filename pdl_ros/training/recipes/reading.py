"""From plain data of a YAML file to frozen settings: types checked, errors in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pdl_ros.errors import PdlError

Settings = TypeVar('Settings')


def settings_from(kind: type[Settings], data: Any, where: str = '') -> Settings:
    """Build a settings dataclass from a mapping; its nested ones from nested mappings.

    Raises PdlError that names the key for what is unknown, missing, or of another type; the
    dataclass itself checks values.
    """
    assert is_dataclass(kind)
    if not isinstance(data, Mapping):
        raise PdlError(f'{where} is {data!r}; it must be keys and values.')
    known = {field.name: field for field in fields(kind)}
    prefix = f'{where}.' if where else ''
    for key in data:
        if key not in known:
            raise PdlError(
                f'there is no {prefix}{key}; {where or "a recipe"} has {", ".join(known)}.'
            )
    for name, field in known.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise PdlError(f'{prefix}{name} is missing, and it has no usual value.')
    hints = get_type_hints(kind)
    values = {key: _value(hints[key], value, f'{prefix}{key}') for key, value in data.items()}
    try:
        return kind(**values)
    except PdlError as error:
        raise PdlError(f'{prefix}{error}') from None


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return settings_from(kind, value, where)  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), value, where)
    convert, words = _SCALARS[kind]
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        raise PdlError(f'{where} is {value!r}; it must be {words}.') from None


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    endless = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple) or (not endless and len(value) != len(kinds)):
        count = 'a list' if endless else f'a list of {len(kinds)}'
        raise PdlError(f'{where} is {value!r}; it must be {count}, such as [..., ...].')
    each = [kinds[0]] * len(value) if endless else kinds
    return tuple(_value(kind, part, where) for kind, part in zip(each, value, strict=True))


def _float(value: Any) -> float:
    # YAML 1.1 takes 2e-3, without a point, for text.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    return float(value)


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_SCALARS: dict[type, tuple[Callable[[Any], Any], str]] = {
    float: (_float, 'a number'),
    int: (_int, 'a whole number'),
    bool: (_bool, 'true or false'),
    str: (_str, 'a word'),
}
