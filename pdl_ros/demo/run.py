"""`pdl_ros demo`: camera, node and recorder as three processes over DDS, and pictures of it all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from pdl_ros.demo.cameras import open_camera
from pdl_ros.demo.processes import require_ros, ros_process
from pdl_ros.demo.recording import Recording
from pdl_ros.demo.summary import Statistics, in_words
from pdl_ros.errors import PdlError, require_package
from pdl_ros.labels import LabelSet
from pdl_ros.messages.stamps import nanoseconds
from pdl_ros.network.weight_files import DEFAULT_VARIANT, find_weights
from pdl_ros.runtime.files import require_writable_folder, write_json
from pdl_ros.sources import Source

if TYPE_CHECKING:  # it imports rclpy, which a pip-only installation lacks
    from pdl_ros.demo.recorder import RecordedFrame
    from pdl_ros.rerun_recording import RerunRecording

_SCENE_WEIGHTS = 'scene_tiny'  # the others know photographs
_ENDLESS = 150  # frames shown of a source without an end
_PATIENCE = 10  # seconds


@dataclass(frozen=True)
class DemoSettings:
    """source: clip, scene, a file or a folder. rate: frames a second of the camera, 0 = the
    source's own; where the node is slower, the camera waits for it.
    frames: 0 = all of them; of the endless scene, 150. weights: a shipped variant or a file,
    empty = what was trained on such pictures. rerun: a file for Rerun's viewer.
    """

    source: str = 'clip'
    weights: str = ''
    device: str = 'auto'
    out: Path = Path('demo_output')
    rate: float = 0.0
    frames: int = 0
    rerun: Path | None = None

    def __post_init__(self) -> None:
        if self.rate < 0 or self.frames < 0:
            raise PdlError(
                f'--rate is {self.rate} and --frames {self.frames}; neither may be negative.'
            )


def run_demo(settings: DemoSettings) -> dict[str, float | int]:
    """Run the demo; leave contact_sheet.png, video.mp4 and summary.json in `settings.out`.

    Returns the summary. Raises PdlError for wrong settings, and when one of the processes fails.
    """
    require_ros('The demo')
    source = open_camera(settings.source)
    rate = settings.rate or source.fps
    frames = settings.frames or source.length or _ENDLESS
    height, width = _frame_size(source)
    fitting = _SCENE_WEIGHTS if settings.source == 'scene' else DEFAULT_VARIANT
    parameters = {
        'weights': find_weights(settings.weights or fitting).resolve(),
        'device': settings.device,
        'warm_up_size': f'{width}x{height}',  # another would cost the first frame its time
        'policy': 'every_frame',  # and so a reliable subscription
    }
    node_arguments = [a for name, value in parameters.items() for a in ('-p', f'{name}:={value}')]
    camera_arguments = [settings.source, str(rate), str(frames), '--on-demand', '--ros-args']
    require_writable_folder(settings.out)
    # These import PyTorch and compiled kernels: what is wrong has been said.
    from pdl_ros.demo.contact_sheet import ContactSheet
    from pdl_ros.rerun_recording import RerunRecording

    settings.out.mkdir(parents=True, exist_ok=True)
    namespace = f'/pdl_demo_{os.getpid()}'  # another demo may run in the same domain
    statistics = Statistics()
    if settings.rerun is not None:
        require_package('rerun', 'rerun')
    with (
        contextlib.ExitStack() as stack,
        ContactSheet(settings.out, rate) as sheet,
        ros_process('pdl_ros.node.main', namespace, '--ros-args', *node_arguments) as node,
        ros_process('pdl_ros.demo.frame_player', namespace, *camera_arguments) as camera,
    ):
        watchers: list[RerunRecording] = []

        def keep(frame: RecordedFrame, label_set: LabelSet) -> None:
            sheet.add(frame, label_set)
            statistics.add(frame.timing, len(frame.instances.instances))
            if settings.rerun is not None:
                if not watchers:  # now the labels are known
                    watchers.append(stack.enter_context(RerunRecording(settings.rerun, label_set)))
                _show(watchers[0], frame)

        frames_in = Recording(node, camera, rate, frames).run(keep, namespace)
        summary = statistics.summary(frames_in, rate)
        sheet.finish(in_words(summary))
        write_json(settings.out / 'summary.json', summary)
        _print_summary(summary, settings.out)
        _end(node)
    return summary


def _end(node: subprocess.Popen[bytes]) -> None:
    node.send_signal(signal.SIGINT)
    try:
        status = node.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        raise PdlError(f'The node did not end within {_PATIENCE} s of SIGINT.') from None
    if status != 0:
        raise PdlError(f'The node ended with status {status} instead of 0; see its log above.')


def _show(watcher: RerunRecording, frame: RecordedFrame) -> None:
    from pdl_ros.rerun_recording import boxes_of, timing_of

    stamp, timing = nanoseconds(frame.instances.header.stamp), timing_of(frame.timing)
    watcher.log(stamp, frame.rgb, frame.panoptic, boxes_of(frame.instances), timing)


def _frame_size(source: Source) -> tuple[int, int]:
    """Return the (height, width) of a source's first frame."""
    for rgb in source:
        return rgb.shape[0], rgb.shape[1]
    raise PdlError(f'{source.name} has no frames.')


def _print_summary(summary: dict[str, float | int], out: Path) -> None:
    table = Table('', 'value', title='Demo')
    for name, value in summary.items():
        text = f'{value:.1f}' if isinstance(value, float) else str(value)
        table.add_row(name.replace('_', ' '), text)
    console = Console()
    console.print(table)
    console.print(in_words(summary), highlight=False)
    console.print(f'Pictures: {out}/contact_sheet.png, {out}/video.mp4')
