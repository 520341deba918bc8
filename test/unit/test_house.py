"""The rooms of the package: imports point one way, and ROS stays where it belongs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pdl_ros

PACKAGE = Path(pdl_ros.__file__).parent
# The way of a frame: a room imports only from itself and from rooms further up. The demo and the
# benchmarks stand beside each other above the command line, which imports them all.
ROOMS = (
    *('errors', 'labels', 'runtime', 'imaging', 'network', 'fusion', 'engines'),
    *('preprocessing', 'pipeline', 'tracking', 'visualization', 'bags', 'sources', 'datasets'),
    *('training', 'evaluation', 'node', 'demo', 'bench', 'cli'),
)
ROS = {'rclpy', 'rosidl_runtime_py', 'ament_index_python', 'launch', 'launch_ros', 'cv_bridge'}
MESSAGES = ('_msgs', '_interfaces')
MAY_IMPORT_ROS = ('node/', 'demo/', 'bench/node.py')
FILES = sorted(path for path in PACKAGE.rglob('*.py') if path != PACKAGE / '__init__.py')


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every import of a file, also those inside functions: the line and the full name."""
    parent = ['pdl_ros', *path.relative_to(PACKAGE).parent.parts]
    for found in ast.walk(ast.parse(path.read_text())):
        if isinstance(found, ast.Import):
            yield from ((found.lineno, alias.name) for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            base = parent[: len(parent) - found.level + 1] if found.level else []
            module = '.'.join([*base, *([found.module] if found.module else [])])
            yield from ((found.lineno, f'{module}.{alias.name}') for alias in found.names)


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def test_every_file_stands_in_a_room() -> None:
    rooms = {path.name.removesuffix('.py') for path in PACKAGE.iterdir() if path in FILES}
    rooms |= {path.relative_to(PACKAGE).parts[0].removesuffix('.py') for path in FILES}
    assert rooms <= set(ROOMS)


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_only_rooms_above_it(room: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for path in FILES:
        if room_of(path) != room:
            continue
        for line, module in imports(path):
            package, _, rest = module.partition('.')
            target = rest.partition('.')[0]
            if package == 'pdl_ros' and target not in ('__version__', 'msg'):
                assert target in allowed, f'{name_of(path)}:{line} imports {module}'


def test_only_the_node_and_the_demo_import_ros_or_messages() -> None:
    found = [
        f'{name_of(path)}:{line} imports {module}'
        for path in FILES
        for line, module in imports(path)
        if is_of_ros(module) and not name_of(path).startswith(MAY_IMPORT_ROS)
    ]
    assert found == []


def is_of_ros(module: str) -> bool:
    package = module.partition('.')[0]
    return package in ROS or package.endswith(MESSAGES) or module.startswith('pdl_ros.msg')


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        'import sys; before = set(sys.modules); import pdl_ros; '
        'print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded <= {'pdl_ros', 'pkgutil', *sys.stdlib_module_names}
