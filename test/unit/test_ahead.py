"""Stages in threads: in order, ahead by no more than asked, and gone when nobody takes any more."""

from __future__ import annotations

import threading
import time

import pytest

from pdl_ros.runtime.background import ahead


def wait_for(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_items_come_in_order_and_a_stage_is_ahead_by_no_more_than_asked():
    begun: list[int] = []

    def count():
        for number in range(50):
            begun.append(number)
            yield number

    items = ahead(count(), 3, 'stage')
    assert next(items) == 0
    wait_for(lambda: len(begun) >= 5)
    time.sleep(0.05)
    assert len(begun) == 5  # one is taken, three wait, one is in hand
    assert list(items) == list(range(1, 50))


def test_what_a_stage_raises_is_raised_where_its_items_are_taken():
    def broken():
        yield 1
        raise ValueError('the second')

    items = ahead(ahead(broken(), 1, 'first'), 1, 'second')
    assert next(items) == 1
    with pytest.raises(ValueError, match='the second'):
        next(items)


def test_stages_that_nobody_takes_from_end_and_close_what_they_read():
    closed: list[int] = []

    def endless():
        try:
            while True:
                yield threading.get_ident()
        finally:
            closed.append(threading.get_ident())

    before = threading.active_count()
    items = ahead(ahead(endless(), 2, 'first'), 2, 'second')
    reader = next(items)
    items.close()
    assert closed == [reader]  # by the thread that opened it: SQLite asks for that
    assert threading.active_count() == before
