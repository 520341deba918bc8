"""What a user writes behind `--ros-args`, or into a parameter file, and gets wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pdl_ros.errors import PdlError
from pdl_ros.node.main import _init

from .inside import inside

WRONG = {
    'There is no parameter file /nowhere/node.yaml.': ['--params-file', '/nowhere/node.yaml'],
    'broken.yaml cannot be used: this is no parameter file of ROS (': [
        '--params-file',
        'broken.yaml',
    ],
    'other.yaml cannot be used: this is no parameter file of ROS (': [
        '--params-file',
        'other.yaml',
    ],
    'The argument -p device cannot be used: a parameter is given as NAME:=VALUE': ['-p', 'device'],
    'The argument -p device:= cannot be used: a parameter is given': ['-p', 'device:='],
    'The argument -r image:=front-left cannot be used: a name is changed by FROM:=TO': [
        '-r',
        'image:=front-left',
    ],
    'The argument --log-level loud cannot be used: Argument does not use a valid severity level.': [
        '--log-level',
        'loud',
    ],
    'The ROS arguments cannot be used: ': ['--params-file'],
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with parameter files that are none."""
    (tmp_path / 'broken.yaml').write_text('/**:\n  ros__parameters:\n   cameras: [a\n  b: c')
    (tmp_path / 'other.yaml').write_text('device: cpu\n')
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('sentence', WRONG)
def test_a_wrong_argument_is_told_in_one_sentence(
    files: None, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PdlError) as error:
        _init(['panoptic_node', '--ros-args', *WRONG[sentence]])
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)
    assert '.c:' not in str(error.value), 'places in the sources of ROS are of no use'
    assert capfd.readouterr() == ('', ''), 'and nobody else says anything'


def test_a_node_with_a_wrong_argument_ends_with_status_2_and_no_traceback() -> None:
    command = [sys.executable, '-m', 'pdl_ros.node.main', '--ros-args', '-p', 'device']
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith('panoptic_node: The argument -p device cannot be used')
    assert done.stderr.count('\n') == 1


@pytest.mark.parametrize(
    ('line', 'name', 'value'),
    [('cameras: []', 'cameras', ()), ('outputs: []', 'outputs', ()), ('roi: []', 'roi', (0,) * 4)],
)
def test_an_empty_list_in_a_parameter_file_is_an_empty_list(
    parameters: dict[str, Any], tmp_path: Path, domain: int, line: str, name: str, value: Any
) -> None:
    file = tmp_path / 'node.yaml'
    file.write_text(f'/**:\n  ros__parameters:\n    {line}\n')
    with inside(parameters, domain, ['--params-file', str(file)]) as node:
        node.node.trigger_configure()
        assert node.state == 'inactive', node.errors
        assert getattr(node.node._settings, name) == value
