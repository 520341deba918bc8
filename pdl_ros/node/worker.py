"""The one thread that runs the device: inbox to segmenter to publishers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from pdl_ros.errors import PdlError
from pdl_ros.node.geometry import choose_output_size, parse_output_size
from pdl_ros.node.inbox import Inbox
from pdl_ros.node.outputs import CameraOutputs
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.node.stream import CameraStream, Received
from pdl_ros.pipeline import Segmenter, default_fusion
from pdl_ros.preprocessing import network_size


class Worker:
    """Segment what comes into the inbox until `stop`.

    `settings` is asked once a frame, so that a change of several parameters is seen whole.
    `complain` is told, in one sentence, of every frame that could not be segmented.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        cameras: Mapping[str, tuple[CameraStream, CameraOutputs]],
        inbox: Inbox[Received],
        settings: Callable[[], NodeSettings],
        complain: Callable[[str], None],
    ) -> None:
        self._segmenter, self._cameras, self._inbox = segmenter, cameras, inbox
        self._settings, self._complain = settings, complain
        self._thread = threading.Thread(target=self._run, name='segmenter', daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread; False when a frame still computes after `timeout` seconds."""
        self._inbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (taken := self._inbox.take()) is not None:
            camera, received = taken
            stream, outputs = self._cameras[camera]
            try:
                self._process(stream, outputs, received)
            except Exception as error:  # whatever one frame does, the next one is segmented
                kind = '' if isinstance(error, PdlError) else f'{type(error).__name__}: '
                sentence = f'{stream.topic}: frame skipped: {kind}{error}'
                stream.books.failed(time.perf_counter(), sentence)
                self._complain(sentence)
                self._segmenter.recover()

    def _process(self, stream: CameraStream, outputs: CameraOutputs, received: Received) -> None:
        settings = self._settings()
        demanded = outputs.demanded(settings)
        if not demanded:
            return
        frame = stream.decode(received, settings.max_frame_age)
        if frame is None:
            return
        self._segmenter.fusion = settings.fusion(default_fusion(self._segmenter.variant))
        height, width = frame.rgb.shape[:2]
        size = choose_output_size(
            parse_output_size(settings.output_size),
            (height, width),
            network_size(height, width, self._segmenter.variant),
        )
        result, stages = self._segmenter.timed(frame.rgb, size)
        outputs.publish(stream, frame, result, stages, demanded, settings)
