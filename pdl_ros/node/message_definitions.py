"""How message types are defined on this machine, for recordings: also those of other packages."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from pdl_ros.bags.types import Definition, definition
from pdl_ros.errors import PdlError

_TYPE = re.compile(r'([a-z]\w*)/msg/([A-Z]\w*)')
_FIELD = re.compile(r'^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[a-z]\w*', re.MULTILINE)
_BUILT_IN = re.compile(r'bool|byte|char|w?string|float(32|64)|u?int(8|16|32|64)')
_RULE = f'\n{"=" * 80}\n'


def message_type(name: str) -> Any:
    """Return the class of ``package/msg/Name``. Raises PdlError where it is not installed."""
    match = _TYPE.fullmatch(name)
    if match and find_spec(match[1]) and find_spec(f'{match[1]}.msg'):
        found = getattr(importlib.import_module(f'{match[1]}.msg'), match[2], None)
        if found is not None and hasattr(found, '_TYPE_SUPPORT'):
            return found
    raise PdlError(f'the type {name} is not installed here; source the workspace that has it')


def describe(name: str, type_hash: str = '') -> Definition:
    """Return the definition of a type for a recording.

    type_hash: what the publisher says of it, '' if nothing; where pdl_ros knows another version of
    the type, it is the installed one that is described. Without files, the text is empty.
    """
    try:
        known = definition(name)
    except PdlError:
        known = None
    if known is not None and type_hash in ('', known.type_hash):
        return known
    texts = _texts(name)
    head = texts.pop(name, '')
    parts = [f'MSG: {other.replace("/msg/", "/")}\n{text}' for other, text in texts.items()]
    return Definition(_RULE.join([head.rstrip('\n'), *parts]), type_hash=type_hash)


def _texts(name: str) -> dict[str, str]:
    """Return the .msg files of a type and of all types in it, by their names, itself first."""
    found: dict[str, str] = {}
    wanted = [name]
    while wanted:
        name = wanted.pop(0)
        match = _TYPE.fullmatch(name)
        if name in found or match is None:
            continue
        try:
            folder = Path(get_package_share_directory(match[1]))
            text = (folder / 'msg' / f'{match[2]}.msg').read_text(encoding='utf-8')
        except (PackageNotFoundError, OSError, ValueError):
            continue
        found[name] = text
        for field in _FIELD.findall(text):
            if not _BUILT_IN.fullmatch(field):
                package, slash, short = field.replace('/msg/', '/').rpartition('/')
                wanted.append(f'{package if slash else match[1]}/msg/{short}')
    return found
