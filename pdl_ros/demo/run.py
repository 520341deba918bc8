"""`pdl_ros demo`: camera, node and recorder as three processes over DDS, and pictures of it all."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pdl_ros.demo.cameras import open_camera
from pdl_ros.demo.contact_sheet import ContactSheet
from pdl_ros.errors import PdlError
from pdl_ros.network import checkpoints
from pdl_ros.runtime.files import require_writable_folder, write_json

NAMESPACE = '/pdl_demo'
_STREET_WEIGHTS, _SCENE_WEIGHTS = 'camvid_efficientnet_lite0', 'scene_tiny'
_ENDLESS = 150  # frames shown of a source without an end
_QUIET = 3.0  # seconds without a result after the camera ended: the node has nothing left


@dataclass(frozen=True)
class DemoSettings:
    """source: clip, scene, a file or a folder. rate: frames a second, 0 = the source's own.
    frames: 0 = all of them; of the endless scene, 150. weights: a shipped variant or a file,
    empty = what was trained on such pictures.
    """

    source: str = 'clip'
    weights: str = ''
    device: str = 'auto'
    out: Path = Path('demo_output')
    rate: float = 0.0
    frames: int = 0

    def __post_init__(self) -> None:
        if self.rate < 0 or self.frames < 0:
            raise PdlError(
                f'--rate is {self.rate} and --frames {self.frames}; neither may be negative.'
            )


def run_demo(settings: DemoSettings) -> dict[str, float | int]:
    """Run the demo; leave contact_sheet.png, video.mp4 and summary.json in `settings.out`.

    Returns the summary. Raises PdlError for wrong settings, and when one of the processes fails.
    """
    _require_ros()
    source = open_camera(settings.source)
    frames = settings.frames or source.length or _ENDLESS
    fitting = _SCENE_WEIGHTS if settings.source == 'scene' else _STREET_WEIGHTS
    weights = checkpoints.find(settings.weights or fitting).resolve()
    parameters = {'weights': weights, 'device': settings.device, 'image_qos': 'reliable'}
    node_arguments = [a for name, value in parameters.items() for a in ('-p', f'{name}:={value}')]
    camera_arguments = [settings.source, str(settings.rate), str(frames), '--ros-args']
    require_writable_folder(settings.out)
    settings.out.mkdir(parents=True, exist_ok=True)
    with (
        ContactSheet(settings.out) as sheet,
        _process('pdl_ros.node.main', '--ros-args', *node_arguments) as node,
        _process('pdl_ros.demo.frame_player', *camera_arguments) as camera,
    ):
        inputs = _record(sheet, frames, node, camera)
        node.send_signal(signal.SIGINT)
        if (status := node.wait(10)) != 0:
            raise PdlError(f'The node ended with status {status} instead of 0; see its log above.')
    summary = sheet.summary(inputs)
    write_json(settings.out / 'summary.json', summary)
    _print_summary(summary, settings.out)
    return summary


def _require_ros() -> None:
    for module in ('rclpy', 'pdl_ros.msg'):
        if importlib.util.find_spec(module) is None:
            raise PdlError(
                f'The demo needs ROS 2 and the built messages, but {module} is not here; run '
                '`make demo` in a checkout, or source a workspace in which pdl_ros was built.'
            )


def _record(
    sheet: ContactSheet, frames: int, node: subprocess.Popen[bytes], camera: subprocess.Popen[bytes]
) -> int:
    """Be the third process: collect until the others are quiet; return the camera frames seen."""
    from pdl_ros.demo.recorder import Recorder, watch

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    counts, changed = (0, 0), time.monotonic()

    def go_on(recorder: Recorder) -> bool:
        nonlocal counts, changed
        if node.poll() is not None:
            raise PdlError(f'The node ended with status {node.returncode}; see above.')
        if counts != (recorder.inputs, sheet.count):
            counts, changed = (recorder.inputs, sheet.count), time.monotonic()
            text = f'{counts[0]} frames in, {counts[1]} segmented'
            progress.update(task, completed=counts[0], description=text)
        return camera.poll() is None or time.monotonic() - changed < _QUIET

    with Progress(TextColumn('{task.description}'), *columns) as progress:
        task = progress.add_task('starting', total=frames)
        watch(sheet.add, NAMESPACE, go_on)
    if camera.returncode != 0:
        raise PdlError(f'The camera ended with status {camera.returncode}; see above.')
    if not sheet.count:
        raise PdlError('Not a single result arrived; see the log of the node above.')
    sheet.finish()
    return counts[0]


@contextlib.contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module as a ROS process in the demo's namespace; it never outlives the block."""
    command = [sys.executable, '-m', module, *arguments, '-r', f'__ns:={NAMESPACE}']
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _print_summary(summary: dict[str, float | int], out: Path) -> None:
    table = Table('', 'value', title='Demo')
    for name, value in summary.items():
        text = f'{value:.1f}' if isinstance(value, float) else str(value)
        table.add_row(name.replace('_', ' '), text)
    console = Console()
    console.print(table)
    console.print(f'Pictures: {out}/contact_sheet.png, {out}/video.mp4')
