"""The doctor finds what is broken, says what to do, survives it, and tells nothing private."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pdl_ros.doctor import machine, probes, report, storage
from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.engines import engine_section
from pdl_ros.doctor.finding import DOUBTFUL, LEVELS, MISSING, OK, OPTIONAL, Finding, Section
from pdl_ros.doctor.packages import PACKAGES, Package, _look_at
from pdl_ros.doctor.show import show_section, show_verdict
from pdl_ros.runtime import cache

ROOT = Path(__file__).resolve().parents[2]
TORCH = {
    'version': '2.13.0', 'cuda': None, 'architectures': [], 'threads': 2,
    'instructions': 'AVX2', 'gpus': [],
}  # fmt: skip
GPU = {'name': 'NVIDIA H200', 'capability': '9.0', 'memory_bytes': 150e9, 'error': ''}
DRIVER = [{'name': 'NVIDIA H200', 'driver_version': '580.1', 'memory.total': '143771 MiB'}]


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A folder before all others, in which a package can be put that is broken."""
    before = os.environ.get('PYTHONPATH', '')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), str(ROOT), before]))
    return lambda name, text: (tmp_path / f'{name}.py').write_text(text)


def package(module: str) -> Package:
    return next(p for p in PACKAGES if p.module == module)


@pytest.mark.parametrize(
    ('breaks', 'words'),
    [
        ("raise OSError('libcudart.so.12: cannot open')", 'OSError: libcudart.so.12: cannot open'),
        ("raise ImportError('a\\nb.')", 'ImportError: a b'),
        ('import os; os.abort()', 'ended by SIGABRT'),
        ('raise SystemExit(4)', 'ended with status 4'),
    ],
)
def test_a_package_that_breaks_at_its_import_is_told_from_one_that_is_not_there(
    breaks, words, stub
):
    stub('numba', breaks)
    found = _look_at(package('numba'))
    assert found.found.startswith('does not load')
    assert words in found.found
    assert found.level == MISSING
    assert 'numba is needed for the fusion on a CPU' in found.advice
    stub('openvino', breaks)
    assert _look_at(package('openvino')).level == DOUBTFUL


def test_what_is_not_installed_is_said_with_what_needs_it_and_how_to_get_it():
    found = _look_at(Package('no_such_module', 'Nothing', 'nothing', 'nothing', needed=False))
    assert (found.found, found.level) == ('not installed', OPTIONAL)
    assert found.advice == 'Nothing is needed for nothing: python3 -m pip install nothing.'
    assert _look_at(Package('no_such_module', 'Nothing', 'all', 'nothing')).level == MISSING


def test_a_package_that_never_loads_does_not_hold_up_the_report(stub):
    stub('scipy', 'import time; time.sleep(600)')
    with pytest.raises(ProbeError, match='did not answer within 1 s'):
        ask('package', 'scipy', limit=1)


def test_without_pytorch_the_rest_is_told(stub):
    stub('torch', "raise OSError('libtorch.so')")
    with pytest.raises(ProbeError) as error:
        ask('torch')
    (engines,) = engine_section(error.value).findings
    assert engines.level == MISSING
    found = {f.name: f for f in machine.machine_section(error.value).findings}
    assert found['instructions used'].level == OK
    assert found['processor'].data['name']


def test_a_gpu_is_named_with_its_driver_and_one_that_cannot_be_used_with_the_reason():
    gpus = {**TORCH, 'cuda': '13.0', 'gpus': [GPU], 'architectures': ['sm_80']}
    (found,) = machine.gpu_findings(gpus, DRIVER)
    assert found.level == OK
    assert 'NVIDIA H200, 150.0 GB, compute capability 9.0, driver 580.1, CUDA 13.0' in found.found
    lame = {**gpus, 'gpus': [{**GPU, 'error': 'no kernel image is available'}]}
    (found,) = machine.gpu_findings(lame, DRIVER)
    assert found.level == MISSING
    assert 'kernels for sm_80' in found.advice


@pytest.mark.parametrize(
    ('torch', 'words'),
    [
        (TORCH, 'built without CUDA'),
        ({**TORCH, 'cuda': '13.0'}, 'driver is too old'),
        (ProbeError('broken'), 'Without PyTorch'),
    ],
    ids=['CPU build', 'old driver', 'no PyTorch'],
)
def test_a_gpu_that_pytorch_does_not_see_is_a_doubt_with_its_reason(torch, words):
    (found,) = machine.gpu_findings(torch, DRIVER)
    assert found.level == DOUBTFUL
    assert words in found.advice
    (found,) = machine.gpu_findings(torch, [])
    assert found.level == OPTIONAL


def test_more_threads_than_the_container_has_cores_are_found(tmp_path, monkeypatch):
    (tmp_path / 'cpu.max').write_text('150000 100000\n')
    assert machine._cgroup_cores(tmp_path) == 1.5
    monkeypatch.setattr(machine, '_cgroup_cores', lambda: 1.5)
    found = machine._cores({**TORCH, 'threads': 8})
    assert found.level == DOUBTFUL
    assert 'OMP_NUM_THREADS=1' in found.advice


def test_little_memory_is_found(tmp_path):
    (tmp_path / 'meminfo').write_text('MemTotal: 4000000 kB\nMemAvailable: 300000 kB\n')
    assert machine._memory(tmp_path).level == DOUBTFUL
    assert machine._memory(tmp_path / 'nowhere').level == OK


def test_a_cache_folder_that_cannot_be_written_is_said_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path / 'file'))
    found = storage._cache()
    assert found.level == DOUBTFUL
    assert 'cannot be a folder' in found.advice
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path))
    (tmp_path / 'kernel-x').write_bytes(bytes(2000))
    found = storage._cache()
    assert found.level == OK
    assert found.data['files'] == {'compiled kernels': 1, 'other files': 1}


def test_what_the_engines_keep_in_the_cache_is_called_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv('PDL_ROS_CACHE', str(tmp_path))
    cache.store({'what': 'scene_tiny-fp32.onnx'}, b'x')
    cache.store({'what': 'scene_tiny-choice.json'}, b'{}')
    assert probes.cache()['files'] == {'exported networks': 1, 'choices of an engine': 1}


def test_weights_that_git_left_as_pointers_are_missing(tmp_path):
    assert storage._weights(storage.WEIGHTS).level == OK
    assert storage._weights(tmp_path).level == MISSING
    (tmp_path / f'{storage.STREET}.safetensors').write_text('version https://git-lfs')
    assert storage._weights(tmp_path).level == MISSING


def test_a_frame_that_fails_means_that_the_node_cannot_run(monkeypatch):
    def ask_nothing(question, *arguments, **options):
        if question == 'frame':
            raise ProbeError('its process was ended by SIGILL')
        return {'auto': 'fp32', 'torch': ['fp32']} if question == 'engines' else []

    monkeypatch.setattr('pdl_ros.doctor.engines.ask', ask_nothing)
    section = engine_section(TORCH)
    assert {f.name: f.level for f in section.findings}['one frame'] == MISSING
    assert not report.can_run([section])


SECTIONS = [
    Section(
        'Things',
        [
            Finding('fine', 'as it should be', data={'number': 1}),
            Finding('gone', 'not here', OPTIONAL, 'X needs it: do this.'),
            Finding('odd', 'strange ' * 30, DOUBTFUL, 'Y is slow without it: do that.'),
        ],
    )
]


def test_the_report_fits_80_columns_with_and_without_rich_and_names_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    said = []
    for broken in (False, True):
        if broken:
            monkeypatch.setitem(sys.modules, 'rich.table', None)
        show_section(SECTIONS[0])
        show_verdict(SECTIONS)
        said.append(capsys.readouterr().out)
        assert max(map(len, said[-1].splitlines())) <= 80
        assert '\x1b' not in said[-1]
        assert 'odd: Y is slow without it: do that.' in said[-1]
        assert 'The node can run here. 1 thing is worth a look.' in said[-1]
    assert said[0].split() == said[1].split()


def test_the_verdict_names_what_the_node_cannot_run_without(capsys):
    section = Section('Things', [Finding('ROS 2', 'not here', MISSING, 'Source it.')])
    show_verdict([*SECTIONS, section])
    assert 'The node cannot run here, for want of: ROS 2.' in capsys.readouterr().out
    assert not report.can_run([*SECTIONS, section])


def test_the_file_keeps_its_form():
    content = report.as_json(SECTIONS)
    assert content.keys() == {'format', 'pdl_ros', 'can_run', 'sections', 'gpu'}
    assert (content['format'], content['can_run'], content['gpu']) == (1, True, None)
    (section,) = content['sections']
    assert section.keys() == {'title', 'findings'}
    for finding in section['findings']:
        assert finding.keys() == {'name', 'found', 'level', 'advice', 'data'}
        assert finding['level'] in LEVELS
    json.dumps(content, allow_nan=False)


def test_no_name_of_a_user_or_computer_is_in_the_file(monkeypatch):
    monkeypatch.setenv('HOME', '/data/alice')
    monkeypatch.setenv('USER', 'alice')
    monkeypatch.setenv('LOGNAME', 'alice')
    monkeypatch.setattr(report.socket, 'gethostname', lambda: 'robot7')
    text = (
        '/data/alice/ws (of alice@robot7), /home/bob/x, /media/carol/disk, /data/alices, alicante'
    )
    expected = '~/ws (of <user>@<host>), /home/<user>/x, /media/<user>/disk, /data/alices, alicante'
    content = {'a': [text], '/data/alice': {'b': (text, 1, None)}}
    assert report.private(content) == {'a': [expected], '~': {'b': [expected, 1, None]}}


def test_a_fault_of_the_doctor_itself_costs_one_section(monkeypatch):
    def storage_section():
        raise ValueError('oops')

    section = report._survived(storage_section)
    assert (section.title, section.findings[0].level) == ('storage', DOUBTFUL)


def test_with_nothing_but_the_standard_library_it_says_what_to_install(tmp_path):
    """As `ros2 run pdl_ros doctor` does in a bare Python, whose packages are all elsewhere."""
    venv.create(tmp_path / 'bare', symlinks=True)
    (tmp_path / 'pdl_ros').symlink_to(ROOT / 'pdl_ros')
    environment = {'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path), 'SECRET_TOKEN': 'hunter2'}
    command = [tmp_path / 'bare' / 'bin' / 'python', '-m', 'pdl_ros.doctor.main']
    done = subprocess.run(
        [*command, '--json', 'out.json', '--ros-args'],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert 'The node cannot run here, for want of:' in done.stdout
    written = (tmp_path / 'out.json').read_text()
    assert str(tmp_path) not in written
    assert 'hunter2' not in written
    found = {f['name']: f for s in json.loads(written)['sections'] for f in s['findings']}
    assert found['PyTorch']['found'] == found['rich']['found'] == 'not installed'
    assert found['ROS 2']['found'] == 'not here'


def test_nothing_heavy_is_imported_by_the_doctor_itself():
    script = 'import sys; import pdl_ros.doctor.main; print(*sys.modules)'
    loaded = subprocess.check_output([sys.executable, '-c', script], text=True).split()
    assert not {'torch', 'numpy', 'numba', 'rclpy', 'rich', 'cv2', 'platformdirs'} & {*loaded}
