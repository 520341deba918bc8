"""The two threads that frames pass: one runs the device, one publishes, so that both overlap."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from pdl_ros.errors import PdlError, in_words
from pdl_ros.fusion import PanopticResult
from pdl_ros.fusion.smoothing import Smoother
from pdl_ros.node.input.camera import Camera
from pdl_ros.node.input.frame import Frame, Received
from pdl_ros.node.input.frame_queue import FrameQueue
from pdl_ros.node.input.geometry import choose_output_size, parse_output_size
from pdl_ros.node.output.publishers import CameraPublishers
from pdl_ros.node.parameters import NodeSettings
from pdl_ros.pipeline import Segmented, Segmenter, StageTimes, default_fusion
from pdl_ros.preprocessing import network_size

_IN_FLIGHT = 2  # batches: one that the device works on, one that is published
_ON_DEVICE = 'a frame has not come back from the engine'
_IN_DDS = 'a frame could not be published'
_GRACE = 0.5  # seconds for the threads of a worker that has failed
_TOO_MANY = 10  # frames in a row that fail on the device, after which it is not the frames' fault


class _Job(NamedTuple):
    """A frame, where it came from, and what is wanted of it."""

    camera: Camera
    outputs: CameraPublishers
    frame: Frame
    output_size: tuple[int, int]
    demanded: frozenset[str]
    settings: NodeSettings


class Worker:
    """Segment and publish what comes into the frame_queue until `stop`, or until it cannot go on:
    `failure` says why.

    `settings` is asked once a frame, so that a change of several parameters is seen whole.
    `log_error` is told, in one sentence, of every frame that could not be segmented. `on_failure`
    is called from a thread that ends before its time. A worker that has ended stays so, whatever
    becomes of the frame_queue.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        cameras: Mapping[str, tuple[Camera, CameraPublishers]],
        frame_queue: FrameQueue[Received],
        settings: Callable[[], NodeSettings],
        log_error: Callable[[str], None],
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._segmenter, self._cameras, self._frame_queue = segmenter, cameras, frame_queue
        self._settings, self._log_error, self._on_failure = settings, log_error, on_failure
        self._failure = ''
        self._failed_in_a_row = 0
        self._smoothers: dict[Camera, Smoother] = {}
        self._waits: dict[int, tuple[float, str]] = {}  # by thread: since when, and for what
        self._closed = threading.Event()  # take no more frames
        self._abandoned = threading.Event()  # and drop those that have been taken
        self._room = threading.Semaphore(_IN_FLIGHT)
        self._started: queue.SimpleQueue[tuple[list[_Job], Callable[[], Segmented]] | None] = (
            queue.SimpleQueue()
        )
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
            for name, work in (('segmenter', self._segment), ('publisher', self._publish))
        ]
        for thread in self._threads:
            thread.start()

    def failure(self, timeout: float = 0.0) -> str:
        """Say why the worker cannot go on; nothing while it can.

        timeout: seconds for which the device, or DDS, may keep a frame; 0: as long as it likes.
        """
        for since, what in list(self._waits.values()) if timeout else ():
            if not self._failure and time.monotonic() - since > timeout:
                self._failure = f'{what} for {timeout:g} s'
        return self._failure

    def stop(self, timeout: float) -> bool:
        """Publish what is under way and end the threads; False when a frame still computes after
        `timeout` seconds, or the worker has failed and a thread still hangs: it is abandoned.
        """
        self._closed.set()
        self._frame_queue.close()
        gone = self._failure or self._abandoned.is_set()
        end = time.monotonic() + (min(timeout, _GRACE) if gone else timeout)
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))
        if self.alive:
            self._abandon()
        return not self.alive

    @property
    def alive(self) -> bool:
        """Whether a thread still runs."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            if not self._abandoned.is_set():
                self._failure = self._failure or in_words(error)
                self._abandon()
                self._on_failure()

    def _abandon(self) -> None:
        """Have each thread end as soon as it can, without a word."""
        self._closed.set()
        self._abandoned.set()
        self._frame_queue.close()
        self._room.release()
        self._started.put(None)

    @contextlib.contextmanager
    def _waiting(self, what: str = _ON_DEVICE) -> Iterator[None]:
        """Note that a thread waits for what may never come."""
        thread = threading.get_ident()
        self._waits[thread] = time.monotonic(), what
        try:
            yield
        finally:
            self._waits.pop(thread, None)

    # --- the segmenter's thread -------------------------------------------------------------------

    def _segment(self) -> None:
        while not self._closed.is_set() and (taken := self._take()):
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

    def _smoothers_of(self, batch: list[_Job]) -> list[Smoother | None]:
        if not batch[-1].settings.smoothing:
            self._smoothers.clear()  # switched on again, it begins anew
            return [None] * len(batch)
        return [self._smoothers.setdefault(job.camera, Smoother()) for job in batch]

    def _start(self, batch: list[_Job]) -> None:
        self._room.acquire()
        if self._abandoned.is_set():
            self._room.release()
            return
        settings = batch[-1].settings
        try:
            with self._waiting():
                self._segmenter.fusion = settings.fusion(default_fusion(self._segmenter.variant))
                finish = self._segmenter.start(
                    [job.frame.rgb for job in batch],
                    [job.output_size for job in batch],
                    self._smoothers_of(batch),
                )
        except Exception as error:
            if len(batch) == 1:
                self._failed_on_device(batch, error)
                self._room.release()
                return
            self._recover()
            self._room.release()
            for job in batch:  # what was too much together may be possible one by one
                self._start([job])
            return
        self._started.put((batch, finish))

    # --- the publisher's thread -------------------------------------------------------------------

    def _publish(self) -> None:
        while (started := self._started.get()) is not None:
            batch, finish = started
            try:
                with self._waiting():
                    results, stages = _checked(batch, finish())
            except Exception as error:
                self._failed_on_device(batch, error)
            else:
                self._failed_in_a_row = 0
                for job, result in zip(batch, results, strict=True):
                    if self._abandoned.is_set():
                        return
                    try:
                        with self._waiting(_IN_DDS):
                            self._publish_frame(job, result, stages, len(batch))
                        job.camera.memory.frame_done(job.frame.rgb.size)
                    except Exception as error:
                        self._fail(job.camera, error)
            self._room.release()

    def _publish_frame(
        self, job: _Job, result: PanopticResult, stages: StageTimes, batch_size: int
    ) -> None:
        """Publish what is wanted of a frame; raise when nothing of it could be."""
        camera, frame, segmented_at = job.camera, job.frame, time.perf_counter()
        wrong = job.outputs.publish(frame, result, job.demanded, job.settings)
        now = time.perf_counter()
        camera.statistics.published(frame.header.frame_id, now, now - frame.received_at)
        if 'timing' in job.demanded:
            wrong += job.outputs.publish_timing(
                frame, stages, segmented_at, now, camera.counts, batch_size
            )
        for sentence in wrong:
            camera.statistics.warned(now, sentence)
            self._log_error(sentence)

    # --- both -------------------------------------------------------------------------------------

    def _failed_on_device(self, batch: list[_Job], error: Exception) -> None:
        """Tell of a batch that is lost; raise when the device does not recover from it."""
        for job in batch:
            self._fail(job.camera, error)
        self._recover()
        if isinstance(error, PdlError) or _is_out_of_memory(error):
            return  # the frame's own fault, or others'; either may pass
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _TOO_MANY:
            raise RuntimeError(
                f'{_TOO_MANY} frames in a row failed, the last with {in_words(error)}'
            )

    def _recover(self) -> None:
        with self._waiting():
            self._segmenter.recover()

    def _fail(self, camera: Camera, error: Exception) -> None:
        """Tell of a frame that is lost; whatever it did, the next one is segmented."""
        if self._abandoned.is_set():
            return
        sentence = f'{camera.topic}: frame skipped: {in_words(error)}'
        camera.statistics.failed(time.perf_counter(), sentence)
        self._log_error(sentence)
        camera.memory.frame_done(0)


def _checked(batch: list[_Job], segmented: Segmented) -> Segmented:
    """Return results if there is one for each frame, at the size that was asked for."""
    asked = [job.output_size for job in batch]
    given = [tuple(result.panoptic.shape) for result in segmented.results]
    if asked != given:
        raise RuntimeError(f'the engine gave labels of {given} where {asked} were asked for')
    return segmented


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or 'out of memory' in said or 'allocate' in said
