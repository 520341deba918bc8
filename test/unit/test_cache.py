"""What the cache gives back is what was put there, whoever and whatever came between."""

from __future__ import annotations

import multiprocessing
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from pdl_ros.engines.tensorrt_plans import weights_digest
from pdl_ros.runtime import cache, files

FACTS = {'what': 'street-fp16.engine', 'gpu': 'A 8.6', 'tensorrt': '10.1', 'weights': 'ab' * 32}
CONTENT = bytes(range(256)) * 16


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A cache folder that is not there yet."""
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def stored() -> Path:
    path = cache.store(FACTS, CONTENT)
    assert path is not None
    return path


def test_content_comes_back_as_it_was(folder, caplog):
    assert cache.load(FACTS) is None
    assert stored().parent == folder
    assert cache.load(FACTS) == CONTENT
    assert not caplog.records


@pytest.mark.parametrize('name', [name for name in FACTS if name != 'what'])
def test_another_gpu_version_or_weights_is_another_entry(name, caplog):
    stored()
    assert cache.load({**FACTS, name: 'other'}) is None
    assert not caplog.records


def test_every_changed_byte_is_noticed(caplog):
    path = stored()
    whole = path.read_bytes()
    # All of the head and the digest, and some of the content.
    places = [*range(len(whole) - len(CONTENT)), *range(200, len(whole), 97), len(whole) - 1]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        assert cache.load(FACTS) is None, place
    assert len(caplog.records) == len(places)


def test_a_file_that_was_cut_short_or_lengthened_is_refused(caplog):
    path = stored()
    whole = path.read_bytes()
    for data in (b'', whole[:10], whole[:100], whole[: len(whole) // 2], whole[:-1], whole + b'x'):
        path.write_bytes(data)
        assert cache.load(FACTS) is None
    assert 'is damaged or incomplete; it is made anew.' in caplog.text


def test_a_bare_engine_from_elsewhere_is_refused_in_one_sentence(caplog):
    stored().write_bytes(b'ftrt' + CONTENT)
    assert cache.load(FACTS) is None
    (record,) = caplog.records
    assert 'is not a file of this cache' in record.getMessage()


def test_an_entry_under_the_name_of_another_is_refused(caplog):
    path = stored()
    other = {**FACTS, 'gpu': 'B 9.0'}
    os.rename(path, cache.cache_file(other))
    assert cache.load(other) is None
    assert 'was made for something else' in caplog.text


def test_others_can_neither_read_nor_write_the_cache(folder):
    path = stored()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_entry_that_others_may_write_is_refused(caplog):
    stored().chmod(0o666)
    assert cache.load(FACTS) is None
    assert 'may be written by other users' in caplog.text


@pytest.mark.skipif(os.geteuid() != 0, reason='needs root, who can give a file away')
def test_an_entry_of_another_user_is_refused(caplog):
    os.chown(stored(), 12345, -1)
    assert cache.load(FACTS) is None
    assert 'belongs to another user' in caplog.text


def test_a_pipe_in_place_of_an_entry_does_not_hang(folder, caplog):
    folder.mkdir()
    os.mkfifo(cache.cache_file(FACTS))
    assert cache.load(FACTS) is None
    assert 'is no file' in caplog.text
    stored()
    assert cache.load(FACTS) == CONTENT


def test_a_link_in_place_of_an_entry_is_replaced_and_not_written_through(folder, tmp_path):
    folder.mkdir()
    (tmp_path / 'mine').write_text('dear')
    cache.cache_file(FACTS).symlink_to(tmp_path / 'mine')
    stored()
    assert (tmp_path / 'mine').read_text() == 'dear'


@pytest.mark.parametrize('place', ['file/cache', 'file', '/proc/nowhere', 'folder'])
def test_a_cache_that_cannot_be_written_is_one_warning(place, tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').touch()
    if place == 'folder':  # an entry's name is taken by a folder: only the last step fails
        monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / place))
        (cache.cache_file(FACTS) / 'x').mkdir(parents=True)
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / place))
    assert cache.store(FACTS, CONTENT) is None
    (record,) = caplog.records
    assert 'cannot be written' in record.getMessage()
    assert 'PDL_ROS_CACHE' in record.getMessage()
    assert not list(tmp_path.rglob('*.part'))


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full, a disk without space')
def test_a_full_disk_leaves_no_part_behind(folder, monkeypatch, caplog):
    original = os.open

    def open_on_a_full_disk(path, flags, *mode):
        handle = original(path, flags, *mode)
        if flags & os.O_CREAT:
            os.close(handle)
            handle = original('/dev/full', os.O_WRONLY)
        return handle

    monkeypatch.setattr(files.os, 'open', open_on_a_full_disk)
    assert cache.store(FACTS, CONTENT) is None
    assert 'No space left' in caplog.text
    assert not list(folder.iterdir())


def _write(start, fill: int) -> None:
    start.wait()
    for _ in range(20):
        cache.store(FACTS, bytes([fill]) * 100_000)


def test_processes_that_build_at_once_never_show_half_an_engine(caplog):
    context = multiprocessing.get_context('fork')
    start = context.Barrier(3)
    writers = [context.Process(target=_write, args=(start, fill)) for fill in (1, 2)]
    for writer in writers:
        writer.start()
    start.wait()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        content = cache.load(FACTS)
        if content is not None:
            assert len(content) == 100_000
            seen.add(content)
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    last = cache.load(FACTS)
    assert seen | {last} <= {bytes([fill]) * 100_000 for fill in (1, 2)}
    assert len(list(cache.cache_folder().iterdir())) == 1
    assert not caplog.records


def test_what_replaces_others_leaves_the_last_few_and_what_is_still_being_written(folder):
    for number in range(5):
        path = cache.replace({'what': 'model', 'of': str(number)}, b'', keep=3)
        os.utime(path, (number, number))
        path.with_name(f'{path.name}.0123abcd.part').touch()
    left = {path.name for path in folder.iterdir()}
    last = [cache.cache_file({'what': 'model', 'of': str(number)}).name for number in (2, 3, 4)]
    assert {name for name in left if not name.endswith('.part')} == set(last)
    assert sum(name.endswith('.part') for name in left) == 5


def test_weights_are_told_apart_by_name_shape_type_and_every_value():
    def network(**changes) -> nn.Module:
        tensors = {'a': torch.ones(2, 3), 'b': torch.zeros(()), **changes}
        module = nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return module

    changed = torch.ones(2, 3)
    changed[1, 2] = torch.nextafter(changed[1, 2], torch.tensor(2.0))
    digests = [
        weights_digest(module)
        for module in (
            network(),
            network(a=changed),
            network(a=torch.ones(3, 2)),
            network(a=torch.ones(2, 3).half()),
            network(c=torch.ones(1)),
        )
    ]
    assert len(set(digests)) == len(digests)
    assert weights_digest(network()) == digests[0]
    strided = torch.ones(3, 2).t()
    assert weights_digest(network(a=strided)) == digests[0]


def test_the_folder_follows_the_users_settings(monkeypatch, tmp_path):
    monkeypatch.setenv('PDL_ROS_CACHE', '~/mine')
    assert cache.cache_folder() == Path.home() / 'mine'
    monkeypatch.delenv('PDL_ROS_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache.cache_folder() == tmp_path / 'pdl_ros'
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert cache.cache_folder() == Path.home() / '.cache' / 'pdl_ros'


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can become a user without an entry')
def test_a_container_s_user_without_a_home_has_a_cache_of_their_own():
    script = """
import os, pwd, random, tempfile
for name in ('HOME', 'PDL_ROS_CACHE', 'XDG_CACHE_HOME'):
    os.environ.pop(name, None)
from pdl_ros.runtime import cache
os.setuid(54321)
print(cache.cache_folder())
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.strip() == f'{tempfile.gettempdir()}/pdl_ros-54321', done.stderr
