"""The command line: what a user types, what comes back, and one sentence where it cannot."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pdl_ros
from pdl_ros.cli import main
from pdl_ros.cli.catalogue import COSTS, markdown_table
from pdl_ros.network import checkpoints
from pdl_ros.network.cost import multiply_adds, parameter_count
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import VARIANTS, get_variant
from pdl_ros.preprocessing import padded_size

from ..parity.published import write_checkpoint


def run(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'pdl_ros.cli', *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=280,
        check=False,
        env={**os.environ, **environment},
    )


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has PyTorch imported."""
    status, out, err = 0, io.StringIO(), io.StringIO()
    command = ['pdl_ros', *map(str, arguments)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, 'argv', command)
                main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


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
    header = checkpoints.read(out / 'weights.safetensors').header
    assert header['training']['steps'] == 4
    assert 0 <= header['scores']['miou'] <= 1
    assert header['commit']

    scored = call('evaluate', '--data', data, '--weights', out / 'weights.safetensors',
                 '--device', 'cpu', '--json', tmp_path / 's.json')  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert 'PQ' in scored.stdout
    scores = json.loads((tmp_path / 's.json').read_text())
    assert scores['miou'] == pytest.approx(header['scores']['miou'], abs=1e-3)

    inferred = call('infer', data / 'images' / 'val', '-o', tmp_path / 'out', '--weights',
                   out / 'weights.safetensors', '--device', 'cpu')  # fmt: skip
    assert inferred.returncode == 0, inferred.stderr
    panoptic = cv2.imread(str(tmp_path / 'out' / '000001_panoptic.png'), cv2.IMREAD_UNCHANGED)
    assert panoptic.shape == (96, 160)
    assert panoptic.dtype == np.uint16
    segments = json.loads((tmp_path / 'out' / '000001.json').read_text())
    assert {s['id'] for s in segments} == set(np.unique(panoptic).tolist()) - {65535}


def test_version_and_variants_answer() -> None:
    assert run('--version').stdout.strip() == pdl_ros.__version__
    listed = call('variants')
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
def test_a_users_mistake_is_one_sentence_and_status_2(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip('lightning_fabric')
    torch.manual_seed(0)
    variant = get_variant('scene_tiny')
    checkpoints.save(PanopticDeepLab(variant), variant, tmp_path / 'ours.safetensors', {})
    (tmp_path / 'picture.png').write_text('<html>not a picture</html>')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', *MISTAKES[words]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    lines = [line for line in said.splitlines() if line.startswith('pdl_ros: ')]
    assert len(lines) == 1
    assert 'Traceback' not in said


def test_a_published_file_is_inspected_imported_and_used_from_the_shell(tmp_path: Path) -> None:
    file = write_checkpoint('bowenc_mbnv2_os32', tmp_path)
    told = call('checkpoint', 'inspect', file)
    assert told.returncode == 0, told.stderr
    for fact in ('authors', 'cityscapes_mobilenet_v2_os32', '19 of cityscapes', '7,719,814'):
        assert fact in told.stdout
    out = tmp_path / 'new' / 'v2.safetensors'
    done = call('checkpoint', 'import', file, '-o', out)
    assert done.returncode == 0, done.stderr
    network, variant = checkpoints.load(out)
    assert variant == get_variant('cityscapes_mobilenet_v2_os32')
    for key, value in checkpoints.load(file)[0].state_dict().items():
        assert torch.equal(network.state_dict()[key], value)
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((64, 128, 3), np.uint8))
    used = call('infer', tmp_path / 'a.png', '--weights', out, '-o', tmp_path / 'o',
               '--device', 'cpu', '--scales', '0.05', '--flip')  # fmt: skip
    assert used.returncode == 2, used.stderr
    assert 'between 0.1 and 8' in used.stderr


class Burglar:
    """Make a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path('trace'),))


BAD_WEIGHTS = {
    'is a web page': b'<!DOCTYPE html><html>Virus scan warning</html>',
    'Git LFS pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n',
    'could run code': pickle.dumps({'model': Burglar()}, protocol=2),
    'may be truncated': pickle.dumps({'model': {'a': np.ones(100)}}, protocol=2)[:300],
    'of another network': pickle.dumps({'model': {'a': np.ones(100)}}, protocol=2),
}


@pytest.mark.parametrize('command', ['inspect', 'import'])
@pytest.mark.parametrize('words', BAD_WEIGHTS)
def test_a_bad_file_of_weights_is_one_sentence_and_status_2(
    words: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / 'model_final.pkl').write_bytes(BAD_WEIGHTS[words])
    out = ['-o', 'x.safetensors'] if command == 'import' else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'checkpoint', command, 'model_final.pkl', *out])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count('\n') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['model_final.pkl']


def test_the_table_in_the_documents_is_the_codes() -> None:
    documents = Path(pdl_ros.__file__).parents[1] / 'docs' / 'variants.md'
    assert markdown_table() in documents.read_text(encoding='utf-8')


def test_the_costs_in_the_package_are_those_of_the_networks() -> None:
    costs = json.loads(COSTS.read_text(encoding='utf-8'))
    assert costs.keys() == VARIANTS.keys()
    one_of_each_encoder = {variant.backbone: variant for variant in VARIANTS.values()}
    for variant in one_of_each_encoder.values():
        network, cost = checkpoints.skeleton(variant), costs[variant.name]
        assert cost['parameters'] == parameter_count(network)
        height, width = padded_size((variant.short_edge, variant.long_edge), variant)
        assert cost['input'] == [height, width]
        assert cost['multiply_adds'] == multiply_adds(network, height, width)


# --- a machine as it is ---------------------------------------------------------------------------


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_scores_and_tables_are_printed_on_any_terminal(encoding: str, tmp_path: Path) -> None:
    write_dataset(tmp_path / 'data')
    torch.manual_seed(0)
    variant = get_variant('scene_tiny')
    weights = tmp_path / 'weigöhts.safetensors'
    checkpoints.save(PanopticDeepLab(variant), variant, weights, {'note': 'größer als – nichts'})
    # In one process: every command imports PyTorch.
    script = f"""
import sys
from pdl_ros.cli import main
for command in (['variants'], ['checkpoint', 'inspect', {str(weights)!r}], ['evaluate', '--data',
        {str(tmp_path / 'data')!r}, '--weights', {str(weights)!r}, '--device', 'cpu'], ['--help']):
    sys.argv = ['pdl_ros', *command]
    try:
        main()
    except SystemExit as end:
        assert end.code in (0, None), end.code
"""
    environment = {'PYTHONIOENCODING': encoding, 'PYTHONUTF8': '0', 'LC_ALL': 'C.UTF-8'}
    done = subprocess.run(
        [sys.executable, '-c', script],
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )
    said = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    for words in ('camvid_efficientnet_lite0', 'multiply-adds', 'mean', 'PQ', 'evaluate'):
        assert words in said


HOPELESS = {
    'train': ('train', 'scene_tiny', '--data', 'scene', '--out', 'file/run'),
    'infer': ('infer', 'picture.png', '-o', 'file'),
    'demo': ('demo', '--out', 'file'),
    'evaluate': ('evaluate', '--data', 'scene', '--json', 'file/scores.json'),
    'import': ('checkpoint', 'import', 'scene_tiny', '-o', 'file/a.safetensors'),
    'export': ('export', 'onnx', 'scene_tiny', '-o', 'file/a.onnx'),
    'bag score': ('bag', 'score', 'a.json', '--json', 'file/b.json'),
    'bench fusion': ('bench', 'fusion', '--json', '/proc/here/a.json'),
    'bench engines': ('bench', 'engines', '--json', 'folder'),
    'bench tracking': ('bench', 'tracking', '--json', 'file/a.json'),
    'bench flicker': ('bench', 'flicker', '--source', 'clip', '--json', 'file/a.json'),
    'bench agreement': ('bench', 'agreement', '--data', 'x', '--json', 'file/a.json'),
    'bench node': ('bench', 'node', '--json', 'file/a.json'),
    'bench start': ('bench', 'start', '--json', 'file/a.json'),
    'bench bags': ('bench', 'bags', '--json', 'file/a.json'),
    'bag run': ('bag', 'run', 'drive', '-o', 'file/out'),
    'bench chart': ('bench', 'chart', 'a.json', '-o', 'file/a.png'),
}


@pytest.mark.parametrize('command', HOPELESS)
def test_what_cannot_be_written_is_a_sentence_before_the_work_begins(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', *HOPELESS[command]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('pdl_ros: ')
    assert said.count('\n') == 1
    assert any(word in said for word in ('cannot be a folder', 'cannot be written', 'is a folder'))
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'folder']


def test_a_disk_that_is_full_in_the_end_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'bench', 'fusion', '--json', '/dev/full'])
    monkeypatch.setattr('pdl_ros.bench.fusion.bench_fusion', lambda *_: {'cases': []})
    monkeypatch.setattr('pdl_ros.bench.fusion.print_results', lambda results: None)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        'pdl_ros: /dev/full cannot be written: No space left on device.\n'
    )


@pytest.mark.parametrize(
    ('error', 'says'),
    [
        (OSError(errno.ENOSPC, 'No space left on device'), 'No space left on device'),
        (FileNotFoundError(errno.ENOENT, 'No such file or directory', 'ffmpeg'), 'ffmpeg'),
        (PermissionError(errno.EACCES, 'Permission denied', '/data/x'), '/data/x'),
    ],
)
def test_what_the_system_refuses_in_the_midst_of_the_work_is_a_sentence(
    error: OSError,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'bench', 'fusion'])
    monkeypatch.setattr('pdl_ros.bench.fusion.bench_fusion', refuse)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith('pdl_ros: ')
    assert says in said
    assert said.count('\n') == 1


def test_without_git_a_training_ends_with_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    from pdl_ros.cli.train import _commit

    monkeypatch.setenv('PATH', '/nowhere')
    assert _commit() == f'release {pdl_ros.__version__}'


def test_weights_trained_with_an_installed_package_do_not_name_a_commit_of_the_users_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pdl_ros.cli import train

    git = ('git', '-c', 'user.name=a', '-c', 'user.email=a@b', '-C', tmp_path)
    for command in (('init', '-q'), ('commit', '-q', '--allow-empty', '-m', 'theirs')):
        subprocess.run([*git, *command], check=True)
    packages = tmp_path / 'venv' / 'site-packages'
    (packages / 'pdl_ros' / 'cli').mkdir(parents=True)
    monkeypatch.setattr(train, '__file__', str(packages / 'pdl_ros' / 'cli' / 'train.py'))
    assert train._commit() == f'release {pdl_ros.__version__}'
    monkeypatch.setattr(train, '__file__', str(tmp_path / 'pdl_ros' / 'cli' / 'train.py'))
    assert re.fullmatch('[0-9a-f]{40}', train._commit()), 'a checkout names its own'


def test_no_command_that_needs_no_ros_imports_it_or_the_demo(tmp_path: Path) -> None:
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'std_msgs') or name in (
            'pdl_ros.demo', 'pdl_ros.node', 'pdl_ros.msg'
        ):
            raise AssertionError(f'{name} is imported')
sys.meta_path.insert(0, Refuse())
import pdl_ros.cli
from pdl_ros.bench import agreement, fusion
from pdl_ros.cli import catalogue, inspection, options
from pdl_ros.engines import onnx_engine, onnx_file, tensorrt_plans
from pdl_ros.evaluation import report, run
from pdl_ros.evaluation.recordings import images, report as page, saved_scores, score
from pdl_ros.sources import open_source
from pdl_ros.training import trainer
pdl_ros.cli.app.infer.__globals__['infer_frames']
try:
    options.open_dataset('/nowhere', 'val', None)
except Exception as error:
    assert type(error).__name__ in ('PdlError', 'AttributeError'), error
"""
    pytest.importorskip('lightning_fabric')
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
