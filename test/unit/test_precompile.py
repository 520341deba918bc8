"""The kernels are compiled before they are needed, in processes of their own."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pdl_ros.runtime import cache, precompile

FIRST_FRAME = """
import torch
from numba.core import event
from pdl_ros.runtime import precompile
assert precompile.wait()
compiled = []

class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data['dispatcher'].__name__)
    def on_end(self, event):
        pass

event.register('numba:compile', Listener())
from pdl_ros.bench.streets import street_heads
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.imaging.masks import coco_masks
from pdl_ros.labels import LabelSet
from pdl_ros.visualization import overlay
labels = LabelSet.load('cityscapes')
heads = street_heads((64, 128), 5, labels)
last = type(heads)(*(h.contiguous(memory_format=torch.channels_last) for h in heads[:3]), 4)
for given, where in ((heads, 'center'), (last, 'mask_centroid')):
    result = fuse(given, labels, FusionSettings(objectness=where), (64, 128))
    panoptic = result.panoptic.numpy()
    coco_masks(result.instance.numpy(), result.segments.instance_id.numpy())
    overlay(torch.zeros(64, 128, 3, dtype=torch.uint8).numpy(), panoptic, labels)
print('compiled:', *compiled)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty cache folder of a process that has not begun to compile."""
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(precompile, '_builds', None)
    return tmp_path / 'cache'


@pytest.fixture
def started(monkeypatch) -> list[str]:
    """The groups whose processes were started; each is over at once, and has done nothing."""
    groups: list[str] = []

    def run(group: str) -> subprocess.Popen[bytes]:
        groups.append(group)
        return subprocess.Popen([sys.executable, '-c', ''])

    monkeypatch.setattr(precompile, '_compile', run)
    return groups


def test_after_the_set_up_the_first_frame_compiles_nothing():
    done = subprocess.run(
        [sys.executable, '-c', FIRST_FRAME], capture_output=True, text=True, check=False
    )
    assert done.stdout == 'compiled:\n', done.stdout + done.stderr


def test_compiling_is_said_before_it_begins_and_once(folder, started, caplog):
    caplog.set_level(logging.INFO)
    precompile.start()
    precompile.start()
    assert started == list(precompile.GROUPS)
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith('Compiling the CPU kernels, once for this machine: about ')


def test_what_is_compiled_is_not_compiled_again_until_its_sources_change(
    folder, started, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    for group in precompile.GROUPS:
        with precompile.compiling(group) as missing:
            assert missing
        with precompile.compiling(group) as missing:
            assert not missing
    monkeypatch.setattr(precompile, '_builds', None)
    precompile.start()
    assert not started and not caplog.records
    monkeypatch.setattr(precompile, 'kernel_sources', lambda *_: 'edited')
    monkeypatch.setattr(precompile, '_builds', None)
    precompile.start()
    assert started == list(precompile.GROUPS)


def test_of_two_processes_that_start_at_once_one_compiles_and_the_other_waits(folder):
    seen = []

    def other() -> None:
        with precompile.compiling('others') as missing:
            seen.append(missing)

    with precompile.compiling('others') as missing:
        assert missing
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        assert not seen
    thread.join()
    assert seen == [False]


def test_a_group_that_failed_is_missing_still(folder):
    with pytest.raises(ZeroDivisionError), precompile.compiling('others'):
        raise ZeroDivisionError
    assert not precompile.is_compiled('others')


def test_nothing_is_started_where_nothing_can_be_kept(folder, started):
    folder.touch()
    precompile.start()
    assert not started
    assert not precompile.wait()


def test_a_kernel_is_waited_for_as_long_as_somebody_compiles_it(folder, started, monkeypatch):
    kernel = cache.cache_folder() / 'kernel'
    precompile.wait_for(kernel)  # those who compiled are gone: this process has to
    assert started
    code = 'import pathlib, sys; pathlib.Path(sys.argv[1]).touch(); sys.stdin.read()'
    with subprocess.Popen(
        [sys.executable, '-c', code, str(kernel)], stdin=subprocess.PIPE
    ) as process:
        monkeypatch.setattr(precompile, '_builds', [process])
        precompile.wait_for(kernel)
        assert kernel.exists() and process.poll() is None
