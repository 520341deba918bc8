"""What tests of `bag run` share: drawn recordings, the tiny network, and the command."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pdl_ros.bags.run import run_bag
from pdl_ros.bags.run_settings import BagJob, RunSettings
from pdl_ros.engines import EngineSettings
from pdl_ros.pipeline import Segmenter

from .drawn_bags import record_streets

SETTINGS = RunSettings(weights='scene_tiny', device='cpu', engine='torch', precision='fp32')
NODE = '/panoptic_node'
OPTIONS = ('--weights', 'scene_tiny', '--engine', 'torch', '--precision', 'fp32')


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.load('scene_tiny', 'cpu', engine=EngineSettings('torch', 'fp32'))


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    """One camera, eight frames."""
    return record_streets(tmp_path_factory.mktemp('recorded') / 'drive')


@pytest.fixture(scope='module')
def two(tmp_path_factory) -> Path:
    """Two cameras, eight frames each."""
    topics = ('/car/front/image_raw', '/car/left/image_raw')
    return record_streets(tmp_path_factory.mktemp('recorded') / 'two', topics)


def run(bag: Path, out: Path, segmenter: Segmenter | None, **changes):
    return run_bag(BagJob(bag, out, replace(SETTINGS, **changes)), segmenter=segmenter)


def command(*words: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, '-m', 'pdl_ros.cli', 'bag', 'run', *map(str, words), *OPTIONS]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)
