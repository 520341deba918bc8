"""Memory that is short, memory that is given back, and the second of two GPUs."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

import torch

from pdl_ros.doctor.finding import megabytes
from pdl_ros.doctor.gpu.engine_checks import drawn_frames, equal_share
from pdl_ros.doctor.gpu.outcome import FAILED, NOT_HERE, Outcome, Trial, judged, only_tried
from pdl_ros.engines import EngineSettings
from pdl_ros.fusion import PanopticResult
from pdl_ros.pipeline import Segmenter

_KEPT = 1 << 20  # bytes that may stay, of libraries' tables
_TOO_LARGE = {'cuda': (6000, 8000), 'cpu': (20_000_000, 20_000_000)}


def check_memory_shortage(trial: Trial) -> Outcome:
    """Ask for a frame that the memory does not suffice for; the next one must be right again."""
    segmenter = Segmenter.load(trial.weights, str(trial.device), engine=EngineSettings('torch'))
    frame = drawn_frames(trial)[0]
    expected = segmenter(frame).panoptic
    with _little_memory(trial):
        try:
            segmenter.timed(frame, _TOO_LARGE[trial.device.type])
        except (RuntimeError, MemoryError) as error:  # of both OutOfMemoryError is one
            kind = type(error).__name__
        else:
            return Outcome(FAILED, 'a frame larger than the memory was segmented', {})
        segmenter.recover()
        same = torch.equal(segmenter(frame).panoptic, expected)
    says = f'the large frame failed ({kind}), the next one is {"right" if same else "wrong"}'
    outcome = judged(same, says, {'error': kind, 'next_frame_same': same})
    return outcome if trial.on_gpu else only_tried(outcome, 'this was the memory of the CPU')


@contextlib.contextmanager
def _little_memory(trial: Trial) -> Iterator[None]:
    """Leave a GPU's allocator 64 MB more than it has."""
    if not trial.on_gpu:
        yield
        return
    device = trial.device
    small = torch.cuda.memory_reserved(device) + (64 << 20)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(small / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def check_release(trial: Trial) -> Outcome:
    """Load, use and release a network four times; no memory may stay on the device."""
    frame = drawn_frames(trial)[0]
    held = []
    peak = 0
    for _ in range(4 if trial.on_gpu else 2):
        segmenter = Segmenter.load(trial.weights, str(trial.device), engine=EngineSettings('torch'))
        segmenter(frame)
        segmenter.release()
        del segmenter
        gc.collect()
        if trial.on_gpu:
            peak = max(peak, torch.cuda.max_memory_allocated(trial.device))
            torch.cuda.empty_cache()
            held.append(torch.cuda.memory_allocated(trial.device))
    if not trial.on_gpu:
        return Outcome(NOT_HERE, 'a CPU keeps no account of memory; loaded and released twice')
    says = f'{megabytes(peak)} while a frame is segmented, {megabytes(held[-1])} after release'
    return judged(held[-1] - held[0] < _KEPT, says, {'peak_bytes': peak, 'held_bytes': held})


def check_other_gpu(trial: Trial) -> Outcome:
    """Run both a first and a last GPU in one process, from a thread whose current one is the first,
    as in the node; the last must leave the first alone.
    """
    count = torch.cuda.device_count() if trial.on_gpu else 0
    last = torch.device('cuda', count - 1) if count else trial.device
    frames = drawn_frames(trial)
    exact = EngineSettings('torch', 'fp32')
    expected = Segmenter.load(trial.weights, 'cpu', engine=exact)(frames)
    first = Segmenter.load(trial.weights, str(trial.device), engine=exact)
    before = first(frames)
    share, failure = _in_thread(trial, last, expected)
    after = first(frames)
    same = all(torch.equal(a.panoptic, b.panoptic) for a, b in zip(before, after, strict=True))
    says = failure or (
        f'{100 * share:.2f} % of the pixels on {last} are those of the CPU, and the first is '
        f'{"untouched" if same else "disturbed"}'
    )
    numbers = {'gpus': count, 'equal': share, 'first_same': same}
    outcome = judged(not failure and share > 0.99 and same, says, numbers)
    return outcome if count > 1 else only_tried(outcome, 'there are no two GPUs')


def _in_thread(
    trial: Trial, device: torch.device, expected: list[PanopticResult]
) -> tuple[float, str]:
    """Segment on a device as the node's worker does; return the share of equal pixels, and what
    went wrong.
    """
    found: list[PanopticResult] = []
    failures: list[str] = []

    def work() -> None:
        try:
            settings = EngineSettings('torch', 'fp32')
            segmenter = Segmenter.load(trial.weights, str(device), engine=settings)
            started = [segmenter.start([frame]) for frame in drawn_frames(trial)]
            found.extend(finish().results[0] for finish in started)
            segmenter.recover()
            segmenter.release()
        except Exception as error:
            failures.append(f'{type(error).__name__}: {error}')

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        return 0.0, failures[0]
    return equal_share(trial, found, expected), ''
