"""Scoring beside the network keeps order, keeps little in memory, and hides no error."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from pdl_ros.datasets import Sample
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import stream as streaming
from pdl_ros.evaluation.stream import stream

from .tiny_labels import LABEL_SET


class Drawn:
    """Samples that count how many of their pictures are alive."""

    label_set = LABEL_SET

    def __init__(self, length: int, broken: int = -1) -> None:
        self.length, self.broken, self.most = length, broken, 0
        self._alive: list[weakref.ref] = []

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if index == self.broken:
            raise PdlError(f'{index}.png is damaged.')
        image = np.zeros((2, 2, 3), np.uint8)
        self._alive.append(weakref.ref(image))
        self.most = max(self.most, sum(ref() is not None for ref in self._alive))
        return Sample(str(index), image, np.zeros((2, 2), np.int32), ())


def test_images_come_back_in_order_though_some_take_longer():
    def score(sample: Sample, doubled: int) -> tuple[str, int]:
        time.sleep(0.004 * (int(sample.name) % 3 == 0))
        return sample.name, doubled

    found = list(stream(Drawn(20), lambda s: 2 * int(s.name), score, quiet=True))
    assert found == [(str(i), 2 * i) for i in range(20)]


def test_the_network_stays_in_the_callers_thread_and_the_scoring_leaves_it():
    callers, scorers = set(), set()

    def segment(_: Sample) -> None:
        callers.add(threading.get_ident())

    def score(*_) -> None:
        scorers.add(threading.get_ident())

    list(stream(Drawn(8), segment, score, quiet=True))
    assert callers == {threading.get_ident()}
    assert threading.get_ident() not in scorers


def test_many_images_need_no_more_memory_than_a_few(monkeypatch):
    monkeypatch.setattr(streaming.os, 'cpu_count', lambda: 2)
    gc.collect()
    dataset = Drawn(200)
    for _ in stream(dataset, lambda s: s.image.sum(), lambda *_: None, quiet=True):
        pass
    assert dataset.most <= 8


@pytest.mark.parametrize('where', ['dataset', 'segment', 'score'])
def test_an_error_ends_the_scoring_at_once_and_is_the_callers(where):
    dataset = Drawn(1000, broken=3 if where == 'dataset' else -1)

    def fail(sample: Sample, *_) -> None:
        if sample.name == '3':
            raise PdlError('3.png is damaged.')

    def fine(*_) -> None:
        return None

    steps = {'segment': fine, 'score': fine, where: fail}
    with pytest.raises(PdlError, match='is damaged'):
        list(stream(dataset, steps['segment'], steps['score'], quiet=True))
    assert len(dataset._alive) < 60
