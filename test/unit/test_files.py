"""What a user asked to be written is there, whole, or a sentence says why not, in time."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import (
    atomic_write,
    require_writable_file,
    require_writable_folder,
    write_json,
)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def test_a_file_appears_whole_with_the_users_own_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        with atomic_write(tmp_path / 'new' / 'folder' / 'a') as file:
            file.write(b'half')
            file.flush()
            assert not (tmp_path / 'new' / 'folder' / 'a').exists()
            file.write(b' and half')
    finally:
        os.umask(old)
    assert content(tmp_path / 'new' / 'folder') == {'a': b'half and half'}
    assert stat.S_IMODE((tmp_path / 'new' / 'folder' / 'a').stat().st_mode) == 0o640


@pytest.mark.parametrize('failure', [ValueError, KeyboardInterrupt])
def test_whoever_fails_or_is_interrupted_while_writing_leaves_the_old_file(tmp_path, failure):
    (tmp_path / 'a').write_bytes(b'old')

    def write() -> None:
        with atomic_write(tmp_path / 'a') as file:
            file.write(b'new')
            raise failure

    with pytest.raises(failure):
        write()
    assert content(tmp_path) == {'a': b'old'}


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs a full disk')
def test_a_full_disk_is_one_sentence_that_names_the_file():
    with pytest.raises(PdlError, match=r'^/dev/full cannot be written: No space left on device\.$'):
        write_json(Path('/dev/full'), {'a': 1})


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / 'there').write_bytes(b'old')
    (tmp_path / 'link').symlink_to('there')
    write_json(tmp_path / 'link', [])
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'there').read_bytes() == b'[]\n'
    write_json(Path('/dev/null'), [])
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)


NOWHERE = {
    'a file in the way': 'file/below/deep',
    'a file itself': 'file',
    'where nobody can write': '/proc/here',
    'a link to nothing': 'link/below',
    'a name that is too long': 'x' * 300,
}


@pytest.mark.parametrize('place', NOWHERE)
def test_a_folder_that_cannot_be_is_found_before_the_work_and_nothing_is_made(place, tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'nothing')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PdlError) as error:
        require_writable_folder(tmp_path / NOWHERE[place])
    assert NOWHERE[place][:20] in str(error.value)
    assert '\n' not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (tmp_path / 'a' / 'b', Path('a/b'), Path('.'), Path('../new')):
        require_writable_folder(place)
        require_writable_file(place / 'c.json')
    require_writable_file(Path('/dev/stdout'))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_a_sentence(tmp_path):
    with pytest.raises(PdlError, match='is a folder; give the name of a file'):
        require_writable_file(tmp_path)
