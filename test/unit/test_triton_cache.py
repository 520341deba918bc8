"""A read-only home costs the GPU's fusion time, not its first frame."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pdl_ros.runtime.triton_cache import choose_triton_cache


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ('TRITON_CACHE_DIR', 'TRITON_HOME', 'PDL_ROS_CACHE'):
        monkeypatch.setenv(name, '')  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(tmp_path))
    return monkeypatch


def test_a_home_that_can_be_written_and_a_users_choice_stay(environment):
    choose_triton_cache()
    assert 'TRITON_CACHE_DIR' not in os.environ
    environment.setenv('TRITON_CACHE_DIR', '/mine')
    environment.setenv('HOME', '/dev/null/nobody')
    choose_triton_cache()
    assert os.environ['TRITON_CACHE_DIR'] == '/mine'


@pytest.mark.parametrize('own', ['', '/dev/null/cache', 'cache'])
def test_without_a_home_kernels_are_kept_where_they_can_be(own, environment, tmp_path):
    environment.setenv('HOME', '/dev/null/nobody')
    environment.setenv('PDL_ROS_CACHE', str(tmp_path / own) if own == 'cache' else own)
    choose_triton_cache()
    chosen = Path(os.environ['TRITON_CACHE_DIR'])
    chosen.mkdir(parents=True, exist_ok=True)
    (chosen / 'kernel').touch()
    assert (chosen.parent.name == 'cache') == (own == 'cache')
