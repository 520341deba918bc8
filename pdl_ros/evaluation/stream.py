"""Images through the network and the scoring, side by side, and back in order."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from rich.progress import track

from pdl_ros.datasets import PanopticDataset, Sample

Given = TypeVar('Given')
Segmented = TypeVar('Segmented')
Scored = TypeVar('Scored')

MOST_THREADS = 16


def stream(
    dataset: PanopticDataset,
    segment: Callable[[Sample], Segmented],
    score: Callable[[Sample, Segmented], Scored],
    quiet: bool = False,
) -> Iterator[Scored]:
    """Yield ``score(sample, segment(sample))`` for every image, in order.

    `segment` runs in the calling thread. Other threads read images ahead and score: NumPy's
    sorting, decoders and kernels leave the interpreter to others. A few images for each core are in
    memory, however many there are.
    """
    threads = min(os.cpu_count() or 1, MOST_THREADS)

    def scored(pair: tuple[Sample, Segmented]) -> Scored:
        return score(*pair)

    with ThreadPoolExecutor(threads, 'scoring') as pool:
        samples = ahead(pool, dataset.__getitem__, range(len(dataset)), threads)
        watched = track(samples, 'scoring', len(dataset), disable=quiet)
        segmented = ((sample, segment(sample)) for sample in watched)
        yield from ahead(pool, scored, segmented, threads)


def ahead(
    pool: ThreadPoolExecutor,
    function: Callable[[Given], Scored],
    items: Iterable[Given],
    count: int,
) -> Iterator[Scored]:
    """Yield what a function returns for each item, in order; `count` calls may be under way."""
    waiting: deque[Future[Scored]] = deque()
    source = iter(items)
    try:
        while True:
            for item in itertools.islice(source, count - len(waiting)):
                waiting.append(pool.submit(function, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
