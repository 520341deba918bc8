"""Which ROS 2 is here, for which Python, and whether the messages are built."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OK, OPTIONAL, Finding, Section

PROBE = 'pdl_ros.doctor.ros.probe'
_NODE_NEEDS = ('rclpy', 'torch', 'pdl_ros')
_WHAT_IS_HERE = (
    'import json, platform, sys; from importlib.util import find_spec as f; '
    f'print(json.dumps([sys.prefix, platform.python_version(), '
    f'[m for m in {_NODE_NEEDS!r} if not f(m)]]))'
)


def ros_section(
    rclpy: dict[str, Any] | ProbeError, environ: Mapping[str, str] = os.environ
) -> Section:
    """Look at ROS. rclpy: what the probe of that name answered."""
    findings = [_rclpy(rclpy, environ), _interpreter(environ)]
    if not isinstance(rclpy, ProbeError):
        findings += [_messages(), _cv_bridge()]
    return Section('ROS 2', findings)


def _rclpy(rclpy: dict[str, Any] | ProbeError, environ: Mapping[str, str]) -> Finding:
    distro = environ.get('ROS_DISTRO', '')
    if not isinstance(rclpy, ProbeError):
        found = f'{distro or "ROS_DISTRO not set"}, rclpy {rclpy["version"]}'
        return Finding('ROS 2', found, data={'distro': distro, 'rclpy': rclpy['version']})
    without = 'The node needs ROS 2 (the library and the command line do not): '
    if rclpy.kind != 'NotInstalledError':
        found, advice = f'rclpy does not load: {rclpy}', f'{without}source it in a new terminal.'
    elif distro:
        found = f'{distro} is sourced, but this Python has no rclpy'
        advice = f'{without}{_other_python(environ)}'
    else:
        found = 'not here'
        advice = (
            f'{without}source a distribution (. /opt/ros/jazzy/setup.bash), or use make shell in a '
            'checkout.'
        )
    return Finding('ROS 2', found, MISSING, advice, {'distro': distro})


def _other_python(environ: Mapping[str, str]) -> str:
    """Say which Python to use, from the folders that ROS has for one."""
    ours = '.'.join(platform.python_version_tuple()[:2])
    prefixes = [Path(part) for part in environ.get('AMENT_PREFIX_PATH', '').split(':') if part]
    theirs = {
        folder.parents[1].name.removeprefix('python')
        for prefix in prefixes
        for folder in prefix.glob('lib/python3*/site-packages/rclpy')
    }
    if theirs and ours not in theirs:
        return f'its rclpy is for Python {" and ".join(sorted(theirs))}, and this is {ours}.'
    return (
        'a venv sees it only when PYTHONPATH is as setup.bash left it; source setup.bash after '
        'activating the venv.'
    )


def _interpreter(environ: Mapping[str, str]) -> Finding:
    """Look at the python3 that comes first on PATH: with it `ros2 run` starts the node."""
    name, program = 'python of ros2 run', shutil.which('python3', path=environ.get('PATH'))
    if program is None:
        advice = '`ros2 run` starts the node with the python3 on PATH; put one there.'
        return Finding(name, 'no python3 on PATH', MISSING, advice)
    command = [program, '-c', _WHAT_IS_HERE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=30, check=True, env=dict(environ)
        )
        prefix, version, lacking = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        advice = f'`ros2 run` starts the node with {program}, which does not run; repair PATH.'
        return Finding(name, f'{program} does not run', MISSING, advice)
    data = {'program': program, 'version': version, 'lacks': lacking}
    found = f'{program} ({version})'
    if lacking:
        advice = (
            f'`ros2 run` and launch files start the node with {program}, which has no '
            f'{" and no ".join(lacking)}: install into that Python, or activate the venv that has '
            'it (made with --system-site-packages) before ros2.'
        )
        lacks = f'{found}, without {" and ".join(lacking)}'
        return Finding(name, lacks, MISSING, advice, data)
    if prefix != sys.prefix:
        advice = (
            f'`ros2 run` and launch files start the node with {program}, and this report is about '
            f'{sys.executable}: run `{program} -m pdl_ros.doctor.main` for that one.'
        )
        return Finding(name, f'{found}, not the one of this report', DOUBTFUL, advice, data)
    return Finding(name, found, data=data)


def _messages() -> Finding:
    try:
        built = ask('messages', module=PROBE)
    except ProbeError as error:
        advice = (
            'The node publishes messages that are not built or not found: run colcon build and '
            'source install/setup.bash, or use make shell in a checkout.'
        )
        return Finding('messages', f'not usable: {error}', MISSING, advice)
    return Finding('messages', 'built and found', data={'built': built})


def _cv_bridge() -> Finding:
    try:
        answer = ask('cv_bridge', module=PROBE)
    except ProbeError as error:
        if error.kind == 'NotInstalledError':
            return Finding('cv_bridge', 'not installed; the node does not use it', OPTIONAL)
        advice = (
            'The node does without cv_bridge, but your own nodes with it fail in this Python: it '
            'was built for another NumPy; pip install "numpy<2" suits those of Humble and Jazzy.'
        )
        return Finding('cv_bridge', f'does not work here: {error}', DOUBTFUL, advice)
    return Finding('cv_bridge', f'works with NumPy {answer["numpy"]}', OK, data=answer)
