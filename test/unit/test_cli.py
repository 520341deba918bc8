"""The command line: what a user types, what comes back, and one sentence where it cannot."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pdl_ros
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'pdl_ros.cli', *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=280, check=False
    )


def write_dataset(root: Path) -> None:
    """Four pictures of a car and a person before a wall, two a split, in the folder layout."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('images', 'panoptic'):
            (root / kind / split).mkdir(parents=True)
        for i in range(2):
            image = rng.integers(90, 110, (96, 160, 3), dtype=np.uint8)
            panoptic = np.full((96, 160), 1000, np.uint16)
            panoptic[60:] = 4000
            image[20:60, 10 + 30 * i : 60 + 30 * i] = (0, 0, 200)
            panoptic[20:60, 10 + 30 * i : 60 + 30 * i] = 5001
            image[30:90, 120:140] = (0, 220, 220)
            panoptic[30:90, 120:140] = 6001
            cv2.imwrite(str(root / 'images' / split / f'{i}.png'), image)
            cv2.imwrite(str(root / 'panoptic' / split / f'{i}.png'), panoptic)


def test_train_pause_resume_evaluate_and_infer_work_from_the_shell(tmp_path: Path) -> None:
    pytest.importorskip('lightning_fabric')
    data, out = tmp_path / 'data', tmp_path / 'run'
    write_dataset(data)
    train = ('train', 'scene_tiny', '--data', data, '--out', out, '--backbone-weights', 'none',
             '--steps', 4, '--batch-size', 2, '--device', 'cpu')  # fmt: skip
    paused = run(*train, '--until', 2)
    assert paused.returncode == 0, paused.stderr
    done = run(*train)
    assert done.returncode == 0, done.stderr
    assert len((out / 'log.csv').read_text().splitlines()) == 1 + 4
    header, _ = checkpoints.read(out / 'weights.safetensors')
    assert header['training']['steps'] == 4
    assert 0 <= header['scores']['miou'] <= 1
    assert header['commit']

    scored = run('evaluate', '--data', data, '--weights', out / 'weights.safetensors',
                 '--device', 'cpu', '--json', tmp_path / 's.json')  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert 'PQ' in scored.stdout
    scores = json.loads((tmp_path / 's.json').read_text())
    assert scores['miou'] == pytest.approx(header['scores']['miou'], abs=1e-3)

    inferred = run('infer', data / 'images' / 'val', '-o', tmp_path / 'out', '--weights',
                   out / 'weights.safetensors', '--device', 'cpu')  # fmt: skip
    assert inferred.returncode == 0, inferred.stderr
    panoptic = cv2.imread(str(tmp_path / 'out' / '000001_panoptic.png'), cv2.IMREAD_UNCHANGED)
    assert panoptic.shape == (96, 160)
    assert panoptic.dtype == np.uint16
    segments = json.loads((tmp_path / 'out' / '000001.json').read_text())
    assert {s['id'] for s in segments} == set(np.unique(panoptic).tolist()) - {65535}


def test_version_and_variants_answer() -> None:
    assert run('--version').stdout.strip() == pdl_ros.__version__
    listed = run('variants')
    assert listed.returncode == 0
    assert 'scene_tiny' in listed.stdout


MISTAKES = {
    'No weights': ('infer', 'picture.png', '--weights', 'nowhere.safetensors'),
    'picture.png': ('infer', 'picture.png', '--weights', 'ours.safetensors', '--device', 'cpu'),
    'No variant': ('train', 'yolo', '--data', 'x', '--out', 'y'),
    'No folder': ('evaluate', '--data', 'x', '--weights', 'ours.safetensors', '--device', 'cpu'),
    'No device': ('infer', 'picture.png', '--weights', 'ours.safetensors', '--device', 'tpu'),
    'must be the same': ('train', 'camvid_efficientnet_lite0', '--data', 'scene', '--out', 'y'),
}


@pytest.mark.parametrize('words', MISTAKES)
def test_a_users_mistake_is_one_sentence_and_status_2(words: str, tmp_path: Path) -> None:
    pytest.importorskip('lightning_fabric')
    torch.manual_seed(0)
    variant = get_variant('scene_tiny')
    checkpoints.save(PanopticDeepLab(variant), variant, tmp_path / 'ours.safetensors', {})
    (tmp_path / 'picture.png').write_text('<html>not a picture</html>')
    done = run(*MISTAKES[words], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith('pdl_ros: ')]
    assert len(lines) == 1
    assert 'Traceback' not in done.stderr
