"""Of a recording that was cut off or is damaged, the frames that are whole; and nothing worse."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcap.data_stream import RecordBuilder
from mcap.writer import IndexType

from pdl_ros.bags.mcap_storage import McapStorage
from pdl_ros.errors import PdlError
from pdl_ros.sources.source import open_source

from .recordings import (
    FORMATS,
    McapFile,
    data_file,
    frame,
    leave_open,
    record,
    record_mcap,
    record_ros1,
)


def play(path: Path) -> list[np.ndarray]:
    """The frames of a recording that can be opened."""
    source = open_source(str(path))
    frames = list(source)
    assert len(frames) == source.length
    return frames


def assert_first_frames(frames: list[np.ndarray], least: int) -> None:
    assert len(frames) >= least
    np.testing.assert_array_equal(frames, [frame(number) for number in range(len(frames))])


def warning_of(caplog) -> str:
    """The one sentence that was logged."""
    (text,) = (r.getMessage() for r in caplog.records if r.name == 'pdl_ros.bags')
    return text


@pytest.mark.parametrize('keep', [0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize('compression', ['none', 'zstd', 'lz4'])
def test_an_mcap_that_was_cut_off_gives_the_frames_that_are_whole(
    tmp_path, compression, keep, caplog
):
    path = record_mcap(tmp_path / 'drive.mcap', compression)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    # Of a compressed chunk that was cut, what the decompressor has may be less than a frame.
    assert_first_frames(play(path), int(12 * keep) - (1 if compression == 'none' else 4))
    assert 'was cut off' in warning_of(caplog)


@pytest.mark.parametrize('compression', ['none', 'zstd', 'lz4'])
def test_frames_in_the_chunk_that_was_cut_are_not_lost(tmp_path, compression):
    path = record_mcap(tmp_path / 'drive.mcap', compression, range(300), chunk_size=1 << 22)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_first_frames(play(path), 80)


def test_an_mcap_without_its_footer_is_whole(tmp_path, caplog):
    path = record_mcap(tmp_path / 'drive.mcap')
    path.write_bytes(path.read_bytes()[:-20])
    assert_first_frames(play(path), 12)
    assert 'was cut off' in warning_of(caplog)


def test_an_mcap_that_ends_in_zeros_after_a_power_failure_is_read(tmp_path, caplog):
    path = record_mcap(tmp_path / 'drive.mcap')
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] + bytes(100_000))
    assert_first_frames(play(path), 4)
    assert 'was cut off' in warning_of(caplog)


@pytest.mark.parametrize('compression', ['none', 'zstd', 'lz4'])
def test_a_damaged_chunk_of_an_mcap_without_an_index_costs_only_itself(
    tmp_path, compression, caplog
):
    path = record_mcap(tmp_path / 'drive.mcap', compression, index_types=IndexType.NONE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    frames = play(path)
    assert 8 <= len(frames) < 12
    np.testing.assert_array_equal([frames[0], frames[-1]], [frame(0), frame(11)])
    assert 'has 1 damaged chunks' in warning_of(caplog)


def test_a_damaged_chunk_of_an_mcap_with_an_index_is_one_sentence(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap')
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(PdlError, match=r'drive\.mcap is damaged: '):
        play(path)


def test_an_index_that_points_elsewhere_is_done_without(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap')
    ((_, offset),) = McapStorage(path)._chunks[0].message_index_offsets.items()
    head, _, tail = path.read_bytes().rpartition(offset.to_bytes(8, 'little'))
    path.write_bytes(head + (offset + 1).to_bytes(8, 'little') + tail)
    assert_first_frames(play(path), 12)


def test_an_index_that_means_one_part_a_thousand_times_does_not_fill_the_memory(
    tmp_path, monkeypatch
):
    path = record_mcap(tmp_path / 'drive.mcap', 'none', range(100), chunk_size=1 << 20)
    data, repeated = path.read_bytes(), RecordBuilder()
    for _ in range(1000):
        McapStorage(path)._chunks[0].write(repeated)
    summary = int.from_bytes(data[-28:-20], 'little')
    path.write_bytes(data[:summary] + repeated.end() + data[summary:])
    monkeypatch.setattr('pdl_ros.bags.storage.MAX_MESSAGES', 50_000)
    assert_first_frames(play(path), 100)


def test_an_mcap_without_chunks_may_be_cut_off_too(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap', use_chunking=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_first_frames(play(path), 5)


@pytest.mark.parametrize('keep', [0.4, 0.6, 0.8, 0.99])
def test_an_sqlite_bag_that_was_cut_off_gives_the_frames_that_are_whole(tmp_path, keep, caplog):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}, 40))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert_first_frames(play(path), int(40 * keep) - 6)
    assert 'was cut off' in warning_of(caplog)


@pytest.mark.parametrize('compression', ['', 'lz4', 'bz2'])
@pytest.mark.parametrize('keep', [0.5, 0.8])
def test_a_bag_of_ros_1_that_was_cut_off_gives_the_frames_that_are_whole(
    tmp_path, compression, keep, caplog
):
    path = record_ros1(tmp_path / 'drive.bag', compression, range(1000))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert_first_frames(play(path), 300)
    assert 'was cut off' in warning_of(caplog)


@pytest.mark.parametrize('cut', [0, 1000])
def test_a_bag_of_ros_1_that_was_not_closed_gives_the_frames_that_are_whole(tmp_path, cut, caplog):
    path = leave_open(record_ros1(tmp_path / 'drive.bag'), cut)
    path = path.rename(tmp_path / 'drive.bag.active')
    assert_first_frames(play(path), 3 if cut else 4)
    assert 'was cut off' in warning_of(caplog)


@pytest.mark.parametrize('plugin', FORMATS)
def test_a_compressed_file_that_was_cut_off_gives_the_frames_that_are_whole(
    tmp_path, plugin, caplog
):
    file = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}, 300, plugin))
    packed = zstandard.compress(file.read_bytes())
    path = tmp_path / f'{file.name}.zstd'
    path.write_bytes(packed[: len(packed) * 3 // 4])
    assert_first_frames(play(path), 80)
    assert warning_of(caplog).startswith(f'{path} was cut off')


KILLED = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute(f'PRAGMA journal_mode = {sys.argv[2]}')
database.execute('PRAGMA cache_size = 1')
database.execute('BEGIN')
database.execute('INSERT INTO messages (topic_id, timestamp, data) '
                 'SELECT topic_id, timestamp + 400000000, data FROM messages')
if sys.argv[2] == 'wal':
    database.execute('COMMIT')
os._exit(0)
"""


@pytest.mark.parametrize(
    ('journal', 'suffix', 'length'), [('wal', '-wal', 8), ('delete', '-journal', 4)]
)
def test_the_journal_of_a_recorder_that_was_killed_is_heeded(tmp_path, journal, suffix, length):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}))
    subprocess.run([sys.executable, '-c', KILLED, str(path), journal], check=True)
    beside = path.with_name(path.name + suffix)
    data, log = path.read_bytes(), beside.read_bytes()
    assert log
    frames = play(path)
    np.testing.assert_array_equal(frames, [frame(i % 4) for i in range(length)])
    assert (path.read_bytes(), beside.read_bytes()) == (data, log)  # evidence is not altered


@pytest.mark.parametrize('name', ['drive.mcap', 'drive.db3', 'drive.bag', 'drive.mcap.zstd'])
@pytest.mark.parametrize('data', [b'', b'x', b'this is not a recording' * 50])
def test_a_file_that_is_no_recording_is_refused(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PdlError, match=r'cannot be read as a rosbag: it (is empty|does not begin)'):
        open_source(str(path))


def test_a_folder_whose_data_are_lost_is_refused(tmp_path):
    bag = record(tmp_path / 'drive', {'/image': 'rgb8'})
    data_file(bag).unlink()
    with pytest.raises(PdlError, match=r'it has no \.mcap, \.db3 or \.bag file'):
        open_source(str(bag))


def test_a_recording_cut_off_before_its_first_image_says_so(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap', use_chunking=False)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(PdlError, match='cut off before the first image'):
        open_source(str(path))


def test_an_image_that_is_damaged_in_itself_is_named(tmp_path):
    file = McapFile(tmp_path / 'drive.mcap')
    channel = file.topic('/image')
    file.frames(channel, range(1)).write(channel, 2**61, b'\0\1\0\0short')
    path = file.finish()
    with pytest.raises(PdlError, match='/image, image 2: the message is damaged: '):
        play(path)


# --- Files made to do harm ---


def peak_of(path: Path) -> int:
    """Bytes of memory that an attempt to play a recording takes; it has to be refused."""
    tracemalloc.start()
    try:
        with pytest.raises(PdlError):
            play(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_chunk_that_says_it_is_huge_is_not_unpacked(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap', chunk_size=1 << 22)
    data = bytearray(path.read_bytes())
    chunk = data.index(b'\x06', 8 + 9 + data[9])
    data[chunk + 9 + 16 : chunk + 9 + 24] = (1 << 40).to_bytes(8, 'little')
    path.write_bytes(data)
    assert peak_of(path) < 10_000_000


def test_a_chunk_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path):
    path = record_mcap(tmp_path / 'drive.mcap', chunk_size=1 << 22)
    data = path.read_bytes()
    magic = data.index(b'\x28\xb5\x2f\xfd')
    length = int.from_bytes(data[magic - 8 : magic], 'little')
    bomb = zstandard.compress(bytes(100_000_000))
    assert len(bomb) < length
    data = data[:magic] + bomb + bytes(length - len(bomb)) + data[magic + length :]
    path.write_bytes(data)
    assert peak_of(path) < 10_000_000


def test_a_message_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('pdl_ros.bags.storage.MAX_BYTES', 1 << 20)
    file = McapFile(tmp_path / 'drive.mcap')
    file.write(file.topic('/image'), 1, zstandard.compress(bytes(50_000_000)))
    assert peak_of(file.finish()) < 10_000_000


def test_a_compressed_file_of_nothing_is_given_up_at_its_first_bytes(tmp_path):
    path = tmp_path / 'drive.mcap.zstd'
    path.write_bytes(zstandard.compress(bytes(500_000_000)))
    with pytest.raises(PdlError, match='does not begin like'):
        open_source(str(path))


def test_a_compressed_file_that_does_not_fit_on_the_disk_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr('pdl_ros.bags.factory._SMALL', 1 << 20)
    path = tmp_path / 'drive.mcap.zstd'
    path.write_bytes(zstandard.compress(b'\x89MCAP0\r\n' + bytes(200_000_000)))
    with pytest.raises(PdlError, match=r'no room .*; unpack it first: zstd -d drive\.mcap\.zstd'):
        open_source(str(path))


@pytest.mark.parametrize(
    'sql',
    [
        'CREATE VIEW messages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) '
        'SELECT i AS id, 1 AS topic_id, i AS timestamp, zeroblob(9) AS data FROM n',
        'CREATE TABLE messages (id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, '
        'data BLOB GENERATED ALWAYS AS (zeroblob(1000000000)))',
        'CREATE VIRTUAL TABLE messages USING fts5(id, topic_id, timestamp, data)',
    ],
)
def test_no_sql_of_a_bag_is_run(tmp_path, sql):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}))
    with sqlite3.connect(path) as database:
        database.execute('DROP TABLE messages')
        database.execute(sql)
        if 'GENERATED' in sql:
            database.execute('INSERT INTO messages (topic_id, timestamp) VALUES (1, 1)')
    with pytest.raises(PdlError, match='it has no table messages like that of rosbag2'):
        open_source(str(path))


def test_values_of_the_wrong_kind_in_a_table_are_one_sentence(tmp_path):
    path = data_file(record(tmp_path / 'drive', {'/image': 'rgb8'}))
    with sqlite3.connect(path) as database:
        database.execute('UPDATE messages SET data = "text" WHERE id = 2')
    with pytest.raises(PdlError, match='is damaged: row 2 has no message'):
        play(path)
    with sqlite3.connect(path) as database:
        database.execute('UPDATE messages SET timestamp = "soon" WHERE id = 2')
    with pytest.raises(PdlError, match='is damaged: '):
        play(path)


# --- Damage anywhere ---


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A small recording in every format, by the name of its file."""
    folder = tmp_path_factory.mktemp('whole')
    chunks = {name: record_mcap(folder / name, name, range(4)) for name in ('none', 'zstd', 'lz4')}
    flat = record_mcap(folder / 'flat', 'none', range(4), use_chunking=False)
    database = data_file(record(folder / 'drive', {'/image': 'rgb8'}))
    files = {f'{name}.mcap': path for name, path in {**chunks, 'flat': flat}.items()}
    files |= {'drive.db3': database, 'drive.bag': record_ros1(folder / 'a.bag')}
    files |= {'bz2.bag': record_ros1(folder / 'b.bag', 'bz2')}
    data = {name: path.read_bytes() for name, path in files.items()}
    return data | {f'{name}.zstd': zstandard.compress(data[name]) for name in ('flat.mcap',)}


NAMES = [
    'none.mcap', 'zstd.mcap', 'lz4.mcap', 'flat.mcap', 'drive.db3', 'drive.bag', 'bz2.bag',
    'flat.mcap.zstd',
]  # fmt: skip


@pytest.mark.parametrize('name', NAMES)
@settings(
    max_examples=60, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    place=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
)
def test_damage_anywhere_leaves_frames_or_one_sentence(tmp_path, whole, name, place, flips, caplog):
    caplog.set_level(logging.ERROR, 'pdl_ros.bags')  # thousands of warnings would be kept
    data = bytearray(whole[name])
    del data[int(place * (len(data) + 1)) :]
    for where, bits in flips:
        if data:
            data[int(where * (len(data) - 1))] ^= bits
    path = tmp_path / name
    path.write_bytes(data)
    try:
        frames = list(open_source(str(path)))
    except PdlError as error:
        text = str(error)
        assert str(path) in text
        assert text.endswith('.')
        assert '\n' not in text
    else:
        assert 0 < len(frames) <= 4
