"""Several recordings at a time on one machine, each in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pdl_ros.bags.run import BagReport, Progress, run_bag
from pdl_ros.bags.run_settings import BagJob
from pdl_ros.errors import PdlError, in_words
from pdl_ros.runtime.memory import share_one_heap

_LOG = logging.getLogger('pdl_ros.bags')
_TRIES = 2
_CORES = 4  # that one network uses well
_LOOK = 0.2  # seconds between two looks whether all is to end


@dataclass(frozen=True)
class Failure:
    """A job of which there is no result, and why."""

    job: BagJob
    reason: str


def run_pool(
    jobs: Sequence[BagJob], workers: int, progress: Progress | None = None
) -> list[BagReport | Failure]:
    """Do jobs, so many at a time (0: by the cores); return what became of each, in their order.

    A process that dies costs its job a second try, which goes on after the parts that are whole;
    the other jobs go on. A job that cannot be done (PdlError) is not tried again.
    """
    told, stopped = _Total(len(jobs), progress), threading.Event()
    cores = os.cpu_count() or 1
    workers = workers or max(min(len(jobs), cores // _CORES), 1)
    threads = max(cores // workers, 1)

    def work(number: int) -> BagReport | Failure:
        job, reason = jobs[number], ''
        for attempt in range(_TRIES):
            outcome, final = _in_own_process(
                job, threads, lambda d, t: told.update(number, d, t), stopped
            )
            if isinstance(outcome, BagReport):
                return outcome
            reason = outcome
            if final or stopped.is_set():
                break
            if attempt + 1 < _TRIES:
                _LOG.warning('%s: %s. It is tried once more.', job.source, reason.rstrip('.'))
        return Failure(job, reason)

    with ThreadPoolExecutor(workers, 'bag') as pool:
        try:
            return list(pool.map(work, range(len(jobs))))
        except BaseException:  # Ctrl-C: no process is left behind
            stopped.set()
            raise


class _Total:
    """The progress of all jobs as one; of those that have not begun, as if like the others."""

    def __init__(self, count: int, progress: Progress | None) -> None:
        self._count, self._progress = count, progress
        self._known: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def update(self, number: int, done: int, total: int) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._known[number] = done, total
            begun = len(self._known)
            whole = sum(total for _, total in self._known.values()) * self._count // begun
            self._progress(sum(done for done, _ in self._known.values()), whole)


def _in_own_process(
    job: BagJob, threads: int, progress: Progress, stopped: threading.Event
) -> tuple[BagReport | str, bool]:
    """Return the report of a job, or why there is none and whether that is final."""
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(there, job, threads), daemon=True)
    process.start()
    there.close()
    result: Any = None
    try:
        while not stopped.is_set():
            if not here.poll(_LOOK):
                continue
            kind, content = here.recv()
            if kind == 'progress':
                progress(*content)
            else:
                result = kind, content
    except EOFError:
        pass
    finally:
        here.close()
        if stopped.is_set():
            process.terminate()
        process.join()
    if result is None:
        return f'its process ended with status {process.exitcode}', False
    kind, content = result
    return content, kind == 'refused'


def _work(pipe: Connection, job: BagJob, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    share_one_heap()
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    try:
        report = run_bag(job, lambda done, total: pipe.send(('progress', (done, total))))
        pipe.send(('done', report))
    except PdlError as error:
        pipe.send(('refused', str(error)))
    except Exception as error:
        _LOG.exception('%s', job.source)
        pipe.send(('failed', in_words(error)))
    finally:
        pipe.close()
