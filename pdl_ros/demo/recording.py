"""The demo's third process: it has the camera send frame by frame, and watches the node."""

from __future__ import annotations

import contextlib
import subprocess
import textwrap
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pdl_ros.demo.pace import Pace
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

if TYPE_CHECKING:  # it imports rclpy, which a pip-only installation lacks
    from pdl_ros.demo.recorder import RecordedFrame, Recorder

_QUIET = 0.5  # seconds in which what the camera has sent at its end arrives
_UNANSWERED = 3  # first frames after which no result is to be expected any more
_WIDTH = 60  # letters of what the node says in the line of progress
_COLUMNS = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


class Recording:
    """Collect what becomes of the frames of a camera process, until it has ended.

    camera: it sends a frame for each byte on its standard input, at most `rate` a second. frames:
    how many are expected.
    """

    def __init__(
        self,
        node: subprocess.Popen[bytes],
        camera: subprocess.Popen[bytes],
        rate: float,
        frames: int,
    ) -> None:
        self._node, self._camera = node, camera
        self._pace = Pace(self._ask, 1 / rate)
        self._arrived: list[tuple[RecordedFrame, LabelSet]] = []
        self._on_frame: Callable[[RecordedFrame, LabelSet], None] = lambda *_: None
        self._given_up = 0
        self._results = 0
        self._counts = (0, 0)
        self._changed = time.monotonic()
        self._progress = Progress(TextColumn('{task.description}', markup=False), *_COLUMNS)
        self._task = self._progress.add_task('starting: the node reads PyTorch', total=frames)

    def run(self, on_frame: Callable[[RecordedFrame, LabelSet], None], namespace: str) -> int:
        """Call `on_frame` with each frame that has its results; return how many were sent.

        Raises PdlError when a process fails, and when not a single result arrives.
        """
        from pdl_ros.demo.recorder import watch

        self._on_frame = on_frame
        with self._progress:
            watch(lambda *arrived: self._arrived.append(arrived), namespace, self._go_on)
        if self._camera.returncode != 0:
            raise PdlError(f'The camera ended with status {self._camera.returncode}; see above.')
        if not self._results:
            raise PdlError('Not a single result arrived; see the log of the node above.')
        return self._counts[0]

    def _go_on(self, recorder: Recorder) -> bool:
        if self._node.poll() is not None:
            raise PdlError(f'The node ended with status {self._node.returncode}; see above.')
        if recorder.node_state == 'unconfigured':
            raise PdlError('The node could not start; its log above says why.')
        ended = self._camera.poll() is not None
        gave_up = recorder.ready and self._pace.look(recorder.inputs, recorder.answered)
        if gave_up:
            self._give_up(recorder.inputs)
        # After the next frame was asked for: the node works meanwhile, as it would beside a viewer.
        for frame, label_set in self._arrived:
            self._on_frame(frame, label_set)
        self._results += len(self._arrived)
        self._arrived.clear()
        self._show(recorder)
        if ended and (recorder.answered or gave_up):
            return time.monotonic() - self._changed < _QUIET
        return True

    def _ask(self) -> None:
        assert self._camera.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the camera has sent all
            self._camera.stdin.write(b'\n')

    def _give_up(self, frames: int) -> None:
        self._given_up += 1
        if not self._results and self._given_up == _UNANSWERED:
            raise PdlError(
                f'The first {_UNANSWERED} frames have no result; see the log of the node above.'
            )
        self._progress.console.print(
            f'Frame {max(frames, 1)} has no result after {self._pace.patience:.0f} s; the demo '
            'goes on with the next.'
        )

    def _show(self, recorder: Recorder) -> None:
        counts = recorder.inputs, self._results
        if counts != self._counts:
            self._counts, self._changed = counts, time.monotonic()
            text = f'{counts[0]} frames in, {counts[1]} segmented'
        elif not recorder.inputs and recorder.node_said:
            text = f'starting: {textwrap.shorten(recorder.node_said, _WIDTH, placeholder=" ...")}'
        else:
            return
        self._progress.update(self._task, completed=counts[0], description=text)
