"""Imports point one way: the table of rooms in docs/architecture.md is what the code does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / 'pdl_ros'
TABLE = re.findall(
    r'^\| `(\w+)(?:/|\.py)` \|',
    (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8'),
    re.MULTILINE,
)
KNOW_ROS = ('node/', 'demo/', 'bench/node', 'bench/start.py', 'doctor/ros/')
ROS = re.compile(r'(rclpy|ament_index_python|launch\w*|cv_bridge|\w+_msgs|\w+_interfaces)(\.|$)')


def imports(file: Path) -> Iterator[str]:
    """Name all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{file}: relative imports hide the room'
            assert node.module is not None
            if node.module == 'pdl_ros':
                yield from (f'pdl_ros.{alias.name}' for alias in node.names)
            yield node.module


def test_the_table_names_every_room_and_no_other():
    found = {p.stem for p in PACKAGE.glob('*.py')} - {'__init__'}
    found |= {p.parent.name for p in PACKAGE.glob('*/__init__.py')}
    assert sorted(TABLE) == sorted(found)


@pytest.mark.parametrize('room', TABLE)
def test_a_room_imports_only_rooms_above_it(room):
    allowed = {room, *TABLE[: TABLE.index(room)]}
    files = [*(PACKAGE / room).rglob('*.py')] or [PACKAGE / f'{room}.py']
    for file in files:
        for module in imports(file):
            top, _, rest = module.partition('.')
            used = rest.partition('.')[0]
            if ROS.match(module) or used == 'msg':
                place = str(file.relative_to(PACKAGE))
                assert place.startswith(KNOW_ROS), f'{file} imports {module}'
            elif top == 'pdl_ros' and used not in ('', '__version__'):
                assert used in allowed, f'{file} imports {module}'
