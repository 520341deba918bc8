"""A wrong input is told before anything slow is imported, and what is slow is told meanwhile."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pdl_ros.cli.app import app
from pdl_ros.engines import EngineSettings, candidates
from pdl_ros.engines.candidates import RUNTIMES
from pdl_ros.network import checkpoints
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime import cache, precompile, progress
from pdl_ros.runtime.imports import slow_import
from pdl_ros.runtime.progress import told_if_slow

SLOW_IMPORTS = ('torch', 'numba', 'cv2', 'onnx', 'onnxruntime', 'openvino', 'rclpy')

WRONG = [
    ('No file or folder', 'infer nosuch.jpg'),
    ('No file or folder', 'infer nosuch.mcap:/front/image'),
    ('broken.png', 'infer broken.png'),
    ('No weights', 'infer broken.png --weights nosuch'),
    ('comes without', 'infer broken.png --weights cityscapes_r52'),
    ('is a web page', 'infer broken.png --weights broken.png'),
    ('No device', 'infer broken.png --device tpu'),
    ('The engine is', 'infer broken.png --engine abacus'),
    ('The precision is', 'infer broken.png --precision fp1'),
    ('--scales is', 'infer broken.png --scales 1,x'),
    ('between 0.1 and 8', 'infer broken.png --scales 99'),
    ('cannot be a folder', 'infer broken.png -o broken.png/out'),
    ('No folder', 'data check nosuch'),
    ('No folder', 'data labels nosuch -o a.yaml'),
    ('No folder', 'evaluate --data nosuch'),
    ('cannot be a folder', 'evaluate --data scene --json broken.png/a.json'),
    ('No variant', 'train yolo --data scene -o run'),
    ('No label set', 'train scene_tiny --data scene -o run --labels nosuch'),
    ('steps is 0', 'train scene_tiny --data scene -o run --steps 0'),
    ('nosuch.pth', 'train scene_tiny --data scene -o run --backbone-weights nosuch.pth'),
    ('No folder', 'train scene_tiny --data nosuch -o run --backbone-weights none'),
    ('No weights', 'export onnx nosuch -o a.onnx'),
    ('must end in', 'export onnx scene_tiny -o a.txt'),
    ('--batch is', 'export onnx scene_tiny -o a.onnx --batch few'),
    ('Give both', 'export tensorrt scene_tiny --height 360'),
    ('No file or folder', 'export tensorrt scene_tiny --calibrate nosuch'),
    ('No weights', 'checkpoint inspect nosuch'),
    ('must end in', 'checkpoint import scene_tiny -o a.pth'),
    ('No variant', 'checkpoint import scene_tiny -o a.safetensors --variant yolo'),
    ('No label set', 'checkpoint import scene_tiny -o a.safetensors --labels nosuch'),
    ('No variant', 'bench engines --variant yolo'),
    ('No folder', 'bench agreement --data nosuch'),
    ('No folder', 'bench tracking --camvid nosuch'),
    ('No weights', 'bench node --weights nosuch'),
    ('No weights', 'bench start --weights nosuch'),
    ('No weights', 'compile --weights nosuch'),
    ('The engine is', 'compile --engine abacus'),
    ('No device', 'bench fusion --device tpu'),
    ('No weights', 'demo --weights nosuch'),
    ('negative', 'demo --rate -1'),
    ('', 'demo --source nosuch.mp4'),  # without ROS that is missing first
]
SCRIPT = f"""
import contextlib, io, json, sys
import pdl_ros.errors
from pdl_ros.cli import main

def said(command):
    sys.argv, output = ['pdl_ros', *command.split()], io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
    return status, output.getvalue(), [m for m in {SLOW_IMPORTS!r} if m in sys.modules]

found = [said(command) for command in json.load(sys.stdin)]
pdl_ros.errors.find_spec = lambda module: None  # nothing optional is installed
found += [said(f'train scene_tiny --data scene -o run'), said('export onnx scene_tiny -o a.onnx')]
print(json.dumps(found))
"""


def test_no_command_imports_pytorch_before_it_has_seen_what_is_wrong(tmp_path: Path) -> None:
    for package in ('lightning_fabric', 'onnx', 'onnxslim', 'onnxruntime', 'mcap', 'rosbags'):
        pytest.importorskip(package)
    (tmp_path / 'broken.png').write_text('<html>not a picture</html>')
    right = ['--help', '--version', 'variants', 'infer --help']
    commands = [*right, *(command for _, command in WRONG)]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    *found, no_train, no_export = json.loads(done.stdout)
    for command, (status, _, imported) in zip(right, found, strict=False):
        assert (status, imported) == (0, []), command
    for (words, command), (status, said, imported) in zip(WRONG, found[len(right) :], strict=True):
        assert (status, imported) == (2, []), f'{command}: {said}'
        assert said.startswith('pdl_ros: '), command
        assert said.count('\n') == 1, said
        assert words in said, command
    for status, said, imported in (no_train, no_export):
        assert (status, imported) == (2, [])
        assert 'pip install' in said
    assert [p.name for p in tmp_path.iterdir()] == ['broken.png']


def test_a_long_step_is_told_once_and_a_short_one_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with told_if_slow('Waiting for nothing'):
        pass
    monkeypatch.setattr(progress, '_SLOW', 0.01)
    with told_if_slow('Waiting for the clock'):
        time.sleep(0.2)
    assert [record.getMessage() for record in caplog.records] == ['Waiting for the clock ...']


def test_large_imports_are_not_searched_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []  # this process goes on
    monkeypatch.setattr(gc, 'freeze', lambda: frozen.append(gc.isenabled()))
    with slow_import('nothing'):
        assert not gc.isenabled()
    assert gc.isenabled() and frozen == [False]
    with pytest.raises(ModuleNotFoundError), slow_import('nothing'):
        import nosuch  # type: ignore[import-not-found]  # noqa: F401
    assert gc.isenabled() and frozen == [False]


def test_a_node_that_does_not_track_starts_without_scipys_optimisation() -> None:
    code = (
        'import pdl_ros.pipeline, pdl_ros.messages.frame_messages, pdl_ros.visualization, sys; '
        'pdl_ros.tracking.Tracker(); '
        "sys.exit(bool({'scipy.optimize', 'scipy.spatial'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_after_the_command_compile_a_node_times_no_engines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    pytest.importorskip('openvino')
    caplog.set_level(logging.INFO)
    assert precompile.wait()
    for kernel in cache.cache_folder().glob('kernel*'):  # these take longer than the test
        shutil.copy2(kernel, tmp_path)
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path))
    monkeypatch.setattr(candidates, 'RUNTIMES', RUNTIMES)
    command = 'compile --weights scene_tiny --weights scene_tiny'
    assert CliRunner().invoke(app, command.split(' ')).exit_code == 0
    assert 'Timing once' in caplog.text
    caplog.clear()
    settings = EngineSettings(frame_size=(480, 640))
    Segmenter.load('scene_tiny', engine=settings).release()
    assert 'known from an earlier start' in caplog.text
    assert 'Timing once' not in caplog.text


def test_loading_weights_draws_no_random_ones_first() -> None:
    before = torch.get_rng_state()
    network, _ = checkpoints.load('scene_tiny')
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_loading_weights_does_not_import_pytorchs_compiler() -> None:
    code = (
        "from pdl_ros.network import checkpoints; checkpoints.load('scene_tiny'); "
        "import sys; sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


def test_a_loaded_network_keeps_its_weights_when_the_file_changes(tmp_path: Path) -> None:
    """Its tensors must not be views of a mapped file, which somebody writes to."""
    network, variant = checkpoints.load('scene_tiny')
    file = tmp_path / 'a.safetensors'
    checkpoints.save(network, variant, file, {}, half=False)
    loaded, _ = checkpoints.load(file)
    size = file.stat().st_size
    with file.open('r+b') as damaged:
        damaged.write(b'\xff' * size)
    for key, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key
