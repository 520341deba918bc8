"""The two threads that frames pass: one runs the device, one publishes, so that both overlap."""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pdl_ros.errors import PdlError
from pdl_ros.node.input.camera import Camera, Frame, Received
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.geometry import choose_output_size, parse_output_size
from pdl_ros.node.output.publishers import CameraPublishers
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.pipeline import Segmented, Segmenter, default_fusion
from pdl_ros.preprocessing import network_size

_IN_FLIGHT = 2  # batches: one that the device works on, one that is published


class _Job(NamedTuple):
    """A frame, where it came from, and what is wanted of it."""

    camera: Camera
    outputs: CameraPublishers
    frame: Frame
    output_size: tuple[int, int]
    demanded: frozenset[str]
    settings: NodeSettings


class Worker:
    """Segment and publish what comes into the frame_queue until `stop`.

    `settings` is asked once a frame, so that a change of several parameters is seen whole.
    `log_error` is told, in one sentence, of every frame that could not be segmented.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        cameras: Mapping[str, tuple[Camera, CameraPublishers]],
        frame_queue: FrameQueue[Received],
        settings: Callable[[], NodeSettings],
        log_error: Callable[[str], None],
    ) -> None:
        self._segmenter, self._cameras, self._frame_queue = segmenter, cameras, frame_queue
        self._settings, self._log_error = settings, log_error
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._started: queue.SimpleQueue[tuple[list[_Job], Callable[[], Segmented]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = [
            threading.Thread(target=run, name=name, daemon=True)
            for name, run in (('segmenter', self._segment), ('publisher', self._publish))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> bool:
        """End the threads; False when a frame still computes after `timeout` seconds."""
        self._frame_queue.close()
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        return not any(thread.is_alive() for thread in self._threads)

    # --- the segmenter's thread -------------------------------------------------------------------

    def _segment(self) -> None:
        while taken := self._take():
            for batch in self._batches(taken):
                self._start(batch)
        self._started.put(None)

    def _take(self) -> dict[str, Received]:
        # Room first: a frame that is taken before it can be worked on grows old.
        with self._room:
            return self._frame_queue.take()

    def _batches(self, taken: Mapping[str, Received]) -> Iterable[list[_Job]]:
        """Decode what was taken, and sort it by what the network can take together."""
        batches: dict[tuple[int, int], list[_Job]] = defaultdict(list)
        for name, received in taken.items():
            camera, outputs = self._cameras[name]
            try:
                job = self._prepare(camera, outputs, received)
            except Exception as error:
                self._fail(camera, error)
                continue
            if job is not None:
                batches[self._segmenter.batch_key(*job.frame.rgb.shape[:2])].append(job)
        return batches.values()

    def _prepare(
        self, camera: Camera, outputs: CameraPublishers, received: Received
    ) -> _Job | None:
        """Decode a frame; None when nobody wants it any more."""
        settings = self._settings()
        demanded = outputs.demanded(settings)
        frame = camera.decode(received, settings.max_frame_age) if demanded else None
        if frame is None:
            return None
        height, width = frame.rgb.shape[:2]
        size = choose_output_size(
            parse_output_size(settings.output_size),
            (height, width),
            network_size(height, width, self._segmenter.variant),
        )
        return _Job(camera, outputs, frame, size, demanded, settings)

    def _start(self, batch: list[_Job]) -> None:
        self._room.acquire()
        settings = batch[-1].settings
        try:
            self._segmenter.fusion = settings.fusion(default_fusion(self._segmenter.variant))
            finish = self._segmenter.start(
                [job.frame.rgb for job in batch], [job.output_size for job in batch]
            )
        except Exception as error:
            self._room.release()
            self._segmenter.recover()
            if len(batch) > 1:  # what was too much together may be possible one by one
                for job in batch:
                    self._start([job])
            else:
                self._fail(batch[0].camera, error)
            return
        self._started.put((batch, finish))

    # --- the publisher's thread -------------------------------------------------------------------

    def _publish(self) -> None:
        while (started := self._started.get()) is not None:
            batch, finish = started
            try:
                results, stages = finish()
            except Exception as error:
                for job in batch:
                    self._fail(job.camera, error)
                self._segmenter.recover()
            else:
                for job, result in zip(batch, results, strict=True):
                    try:
                        job.outputs.publish(
                            job.camera, job.frame, result, stages, job.demanded, job.settings,
                            len(batch),
                        )  # fmt: skip
                    except Exception as error:
                        self._fail(job.camera, error)
            self._room.release()

    # --- both -------------------------------------------------------------------------------------

    def _fail(self, camera: Camera, error: Exception) -> None:
        """Tell of a frame that is lost; whatever it did, the next one is segmented."""
        kind = '' if isinstance(error, PdlError) else f'{type(error).__name__}: '
        sentence = f'{camera.topic}: frame skipped: {kind}{error}'
        camera.statistics.failed(time.perf_counter(), sentence)
        self._log_error(sentence)
