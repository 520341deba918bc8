"""Recordings on a Ray cluster: every part of every result is a task, and any machine may do it.

The machines see the recordings and the results under the same paths, as on a shared disk.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pdl_ros.bags.plan import Plan, make_plan
from pdl_ros.bags.pool import Failure
from pdl_ros.bags.run import BagReport, Progress, finish_bag, run_bag
from pdl_ros.bags.run_folder import RunFolder
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.errors import PdlError, in_words, require, require_package
from pdl_ros.pipeline import Segmenter

_LOG = logging.getLogger('pdl_ros.bags')
_RETRIES = 3  # of a task whose process or machine went away
_PATIENCE = 10  # seconds that a cluster may take to answer


@dataclass
class _Work:
    """What is under way of a job. total, done: its images; made: those that were segmented now.
    waiting: its tasks that have not ended, and their images.
    """

    job: BagJob
    total: int = 0
    done: int = 0
    made: int = 0
    waiting: dict[Any, int] = field(default_factory=dict)
    failure: str = ''


def run_fleet(
    jobs: Sequence[BagJob],
    address: str,
    cpus: float = 4,
    progress: Progress | None = None,
) -> list[BagReport | Failure]:
    """Do jobs on a Ray cluster; return what became of each, in their order.

    A task is a part of a result (`RunSettings.part_frames` images), or a whole recording where
    things are tracked through it. One whose process or machine goes away is done again by another;
    what is done stays, so that the same command later does the rest. The results are those of one
    machine. cpus: processors that Ray reserves for a task; a task takes a whole GPU where the
    cluster has some and `device` is not cpu. Raises PdlError without Ray, where no cluster
    answers, or where none of its machines is as large as a task.
    """
    with _cluster(address) as ray:
        largest = max((node['Resources'].get('CPU', 0) for node in ray.nodes()), default=0)
        require(
            cpus <= largest,
            f'A task is to have {cpus:g} processors, but the largest machine of the cluster has '
            f'{largest:g}; give fewer with --ray-cpus.',
        )
        options = {'num_cpus': cpus, 'num_gpus': 0, 'max_retries': _RETRIES}
        gpus = ray.cluster_resources().get('GPU', 0)
        works = []
        for job in jobs:
            on_gpu = gpus > 0 and not job.settings.device.startswith('cpu')
            works.append(_begin(ray, job, {**options, 'num_gpus': int(on_gpu)}))
        _await(ray, works, progress)
    return [_finish(work) for work in works]


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    require_package('ray', 'ray')
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    import ray

    try:
        _knock(address)
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, ValueError, RuntimeError) as error:
        raise PdlError(
            f'No Ray cluster answers at {address!r} ({in_words(error)[:200].rstrip(".")}); start '
            'one with `ray start --head`, or leave out --ray.'
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nobody is at an address, for which Ray would wait minutes."""
    host, colon, port = address.rpartition('://')[2].rpartition(':')
    if colon:
        socket.create_connection((host, int(port)), _PATIENCE).close()


def _begin(ray: Any, job: BagJob, options: dict[str, Any]) -> _Work:
    """Send the tasks of a job that are still to be done."""
    work = _Work(job)
    try:
        plan = make_plan(job)
        folder = RunFolder(plan)
        work.total = work.done = plan.count
        if folder.is_complete():
            return work
        folder.open()
        missing = folder.missing()
        work.done -= sum(plan.kept_in(part) for part in missing)
        if missing:
            _agree_on_engine(ray, plan, folder, options)
    except PdlError as error:
        work.failure = str(error)
        return work
    task = ray.remote(_make).options(**options)
    if job.settings.tracking:
        work.waiting = {task.remote(job, None, options['num_cpus']): work.total - work.done}
    else:
        work.waiting = {
            task.remote(job, part, options['num_cpus']): plan.kept_in(part) for part in missing
        }
    return work


def _agree_on_engine(ray: Any, plan: Plan, folder: RunFolder, options: dict[str, Any]) -> None:
    """Have one machine choose what `auto` means, so that all parts are made alike."""
    settings = folder.settings()
    if 'auto' in (settings.engine, settings.precision):
        chosen = ray.get(ray.remote(_resolve).options(**options).remote(settings))
        if isinstance(chosen, str):
            raise PdlError(chosen)
        folder.keep_settings(chosen)


def _await(ray: Any, works: Sequence[_Work], progress: Progress | None) -> None:
    owner = {task: work for work in works for task in work.waiting}
    total = sum(work.total for work in works)
    while owner:
        if progress is not None:
            progress(sum(work.done for work in works), total)
        (task,), _ = ray.wait(list(owner), num_returns=1)
        work = owner.pop(task)
        images = work.waiting.pop(task)
        try:
            said = ray.get(task)
        except ray.exceptions.RayError as error:
            said = in_words(error).splitlines()[0][:300]
        if said:
            work.failure = work.failure or said
            _LOG.warning('%s: %s', work.job.source, said)
        else:
            work.done += images
            work.made += images
    if progress is not None:
        progress(sum(work.done for work in works), total)


def _finish(work: _Work) -> BagReport | Failure:
    if work.failure:
        return Failure(work.job, work.failure)
    try:
        return replace(finish_bag(work.job), made=work.made)
    except PdlError as error:
        return Failure(work.job, str(error))


# --- what runs on the machines of the cluster ---------------------------------------------------


def _make(job: BagJob, part: int | None, threads: float) -> str:
    """Make a part of a job, or all of it; return what went wrong, '' if nothing did."""
    import torch

    torch.set_num_threads(max(int(threads), 1))
    try:
        settings = RunFolder(make_plan(job)).settings()
        report = run_bag(job, parts=None if part is None else [part], segmenter=_network(settings))
    except PdlError as error:
        return str(error)
    return report.failure


def _resolve(settings: RunSettings) -> RunSettings | str:
    """Return the settings with the engine that suits this machine, or why there is none."""
    try:
        return settings.resolved(_network(settings))
    except PdlError as error:
        return str(error)


@functools.lru_cache(maxsize=1)
def _loaded(settings: RunSettings) -> Segmenter:
    return settings.open_segmenter()


def _network(settings: RunSettings) -> Segmenter:
    """Return the network, which the next task in this process finds loaded."""
    kept = ('weights', 'device', 'engine', 'precision', 'batch')
    return _loaded(replace(RunSettings(), **{name: getattr(settings, name) for name in kept}))
