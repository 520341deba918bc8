"""The whole report: sections, verdict, and what of it may leave this computer."""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pdl_ros import __version__
from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.engines import engine_section
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, Finding, Section
from pdl_ros.doctor.machine import machine_section
from pdl_ros.doctor.packages import python_section
from pdl_ros.doctor.ros.network import network_section
from pdl_ros.doctor.ros.setup import PROBE, ros_section
from pdl_ros.doctor.storage import storage_section

FORMAT = 1
"""Of the JSON; raised when a key changes its meaning."""


def examine(announce: Callable[[str], None] = lambda _: None) -> Iterator[Section]:
    """Look at everything; yield each section as soon as it and those before it are known. announce:
    is told what comes next.
    """
    with ThreadPoolExecutor(2) as pool:
        torch = pool.submit(_ask_or_why, 'torch')
        rclpy = pool.submit(_ask_or_why, 'rclpy', module=PROBE)
        announce('importing every package')
        yield _survived(python_section, torch.result())
        yield _survived(machine_section, torch.result())
        announce('segmenting a frame; the very first one compiles its kernels')
        yield _survived(engine_section, torch.result())
        yield _survived(storage_section)
        yield _survived(ros_section, rclpy.result())
        found = rclpy.result()
        if not isinstance(found, ProbeError):  # last and alone: others would slow the images
            announce('sending images from one process to another')
            yield _survived(network_section, found)


def _ask_or_why(question: str, **options: Any) -> Any:
    try:
        return ask(question, **options)
    except ProbeError as error:
        return error


def _survived(make: Callable[..., Section], *arguments: Any) -> Section:
    """Return a section, or the doctor's own fault in its place: the others count without it."""
    try:
        return make(*arguments)
    except Exception as error:
        title = make.__name__.removesuffix('_section')
        fault = f'{type(error).__name__}: {error}'
        advice = 'This is a fault of the doctor; please report it.'
        return Section(title, [Finding('doctor', fault, DOUBTFUL, advice)])


def troubles(sections: list[Section], level: str) -> list[Finding]:
    """Return the findings of a level."""
    return [f for section in sections for f in section.findings if f.level == level]


def can_run(sections: list[Section]) -> bool:
    """Tell whether the node can run here."""
    return not troubles(sections, MISSING)


def as_json(sections: list[Section], gpu: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the report for a file, without names of users, this computer, or their folders.

    gpu: what the proof on a GPU found, None: there was none.
    """
    content = {
        'format': FORMAT,
        'pdl_ros': __version__,
        'can_run': can_run(sections),
        'sections': [section.as_dict() for section in sections],
        'gpu': gpu,
    }
    cleaned: dict[str, Any] = private(content)
    return cleaned


def private(content: Any) -> Any:
    """Return the same with ~ for the home, and without names of users and of this computer."""
    if isinstance(content, dict):
        return {private(key): private(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [private(value) for value in content]
    return _without_names(content) if isinstance(content, str) else content


def _without_names(text: str) -> str:
    home = os.path.expanduser('~')
    for folder in sorted({home, os.path.realpath(home)}, key=len, reverse=True):
        if folder.count('/') and folder != '/':
            text = re.sub(rf'{re.escape(folder)}(?=/|\b|$)', '~', text)
    text = re.sub(r'/(home|Users|media|run/media)/[^/\s:;,\'")]+', r'/\1/<user>', text)
    for name, word in ((_user(), '<user>'), (socket.gethostname(), '<host>')):
        if len(name) > 1 and name != 'root':
            text = re.sub(rf'(?<![\w-]){re.escape(name)}(?![\w-])', word, text)
    return text


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in containers
        return ''
