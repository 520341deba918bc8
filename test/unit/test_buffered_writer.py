"""Receiving messages never waits for the disk, and what that costs is bounded and counted."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pdl_ros.bags.bag import Bag
from pdl_ros.bags.buffered_writer import BufferedWriter
from pdl_ros.bags.qos import OfferedQos
from pdl_ros.bags.types import definition
from pdl_ros.bags.writer import BagWriter
from pdl_ros.errors import PdlError

from .recordings import IMAGE, PERIOD, START, data_file, serialized


class SlowWriter(BagWriter):
    """A disk that does not write until it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.goes_on = threading.Event()

    def write(self, *arguments, **named) -> None:
        assert self.goes_on.wait(20)
        super().write(*arguments, **named)


def add_image(writer: BufferedWriter, name: str = '/image') -> int:
    return writer.add_topic(name, IMAGE, [OfferedQos()], definition(IMAGE))


def test_messages_are_written_as_they_came_with_their_times(tmp_path):
    writer = BufferedWriter(BagWriter(tmp_path / 'drive'), 1 << 20)
    topics = [add_image(writer, name) for name in ('/left', '/right')]
    for number in range(6):
        time_ = START + number * PERIOD
        assert writer.put(topics[number % 2], time_, serialized(number), time_ - 5)
    writer.close()
    bag = Bag(tmp_path / 'drive')
    found = [(m.topic.name, m.log_time, m.data) for m in bag.messages(bag.topics)]
    assert found == [
        (('/left', '/right')[n % 2], START + n * PERIOD, serialized(n)) for n in range(6)
    ]
    assert writer.written == {'/left': 3, '/right': 3}
    assert writer.written_bytes == sum(len(serialized(n)) for n in range(6))
    assert not writer.dropped


def test_where_the_disk_is_slow_memory_is_bounded_and_what_is_dropped_is_counted(tmp_path):
    slow = SlowWriter(tmp_path / 'drive')
    size = len(serialized(0))
    writer = BufferedWriter(slow, 5 * (size + 200))
    topic = add_image(writer)
    begun = time.monotonic()
    taken = [writer.put(topic, START + n, serialized(0)) for n in range(100)]
    assert time.monotonic() - begun < 5, 'receiving waited for the disk'
    assert taken == [True] * 5 + [False] * 95
    assert writer.dropped == {'/image': 95}
    slow.goes_on.set()
    while writer.written['/image'] < 5:
        time.sleep(0.01)
    assert writer.put(topic, START + 200, serialized(1)), 'there is room again'
    writer.close()
    assert sum(topic.count for topic in Bag(tmp_path / 'drive').topics) == 6


def test_a_message_larger_than_the_buffer_is_dropped_and_no_other(tmp_path):
    writer = BufferedWriter(BagWriter(tmp_path / 'drive'), 5000)
    topic = add_image(writer)
    assert not writer.put(topic, START, bytes(5000))
    assert writer.put(topic, START, serialized(0))
    writer.close()
    assert (writer.dropped['/image'], writer.written['/image']) == (1, 1)


def test_what_was_received_is_on_the_disk_within_seconds_however_small_it_is(tmp_path):
    """A process that is killed leaves what is in the file, without an index."""
    writer = BufferedWriter(BagWriter(tmp_path / 'drive'), 1 << 20)
    topic = add_image(writer)
    writer.put(topic, START, serialized(0))
    file = next((tmp_path / 'drive').glob('*.mcap'))
    end = time.monotonic() + 10
    while file.stat().st_size < 1000 and time.monotonic() < end:
        time.sleep(0.05)
    (tmp_path / 'killed.mcap').write_bytes(file.read_bytes())
    writer.close()
    bag = Bag(tmp_path / 'killed.mcap')
    assert [message.data for message in bag.messages(bag.topics)] == [serialized(0)]


def test_a_full_disk_is_a_sentence_and_what_comes_later_is_counted(tmp_path, monkeypatch):
    bag = BagWriter(tmp_path / 'drive')
    writer = BufferedWriter(bag, 1 << 20)
    topic = add_image(writer)
    writer.put(topic, START, serialized(0))
    while not writer.written:
        time.sleep(0.01)

    def full(*_arguments, **_named):
        raise PdlError(f'{tmp_path}/drive cannot be written: No space left on device.')

    monkeypatch.setattr(bag, 'write', full)
    writer.put(topic, START, serialized(1))
    while not writer.failure:
        time.sleep(0.01)
    assert not writer.put(topic, START, serialized(2))
    with pytest.raises(PdlError, match='No space left'):
        writer.close()
    assert writer.dropped['/image'] == 2
    assert Bag(data_file(tmp_path / 'drive')).topics[0].count == 1
