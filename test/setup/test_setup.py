"""What a user meets before anything runs: the set-up's words, and one version everywhere."""

import ast
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

import pdl_ros
from pdl_ros.demo.cameras import open_camera

ROOT = Path(__file__).resolve().parents[2]
BASE_PYTHON = os.path.realpath(sys.executable)


@pytest.fixture
def checkout(tmp_path):
    """A copy of this checkout with nothing set up."""
    root = tmp_path / 'checkout'
    ignored = shutil.ignore_patterns('__pycache__', 'weights')
    for name in ('scripts', 'requirements', 'msg', 'include', 'pdl_ros'):
        shutil.copytree(ROOT / name, root / name, ignore=ignored)
    for name in ('CMakeLists.txt', 'package.xml', 'setup.py', 'pyproject.toml'):
        shutil.copy(ROOT / name, root / name)
    return root


def tools(folder, *names):
    """Make a folder for PATH that holds these commands only."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to('/bin/true')
    return folder


def environment(path='', **variables):
    kept = {name: os.environ[name] for name in ('HOME', 'LANG') if name in os.environ}
    offline = {'PIP_CONFIG_FILE': os.devnull, 'PIP_NO_INDEX': '1'}
    return {'PATH': str(path), **kept, **offline, **variables}


def set_up(checkout, *arguments, python=(BASE_PYTHON,), **variables):
    return subprocess.run(
        [*python, str(checkout / 'scripts' / 'setup_env.py'), *arguments],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_stops_with(done, sentence):
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.fullmatch(f'set-up stopped: .*{sentence}.*', last), done.stderr
    assert 'Traceback' not in done.stderr


ALL_TOOLS = ('cc', 'c++', 'cmake', 'make')


@pytest.mark.parametrize(
    ('missing', 'words'),
    [('cc', 'no C compiler'), ('c++', r'no C\+\+ compiler'), ('cmake', 'no cmake')],
)
def test_a_missing_tool_is_named_with_what_to_install(checkout, tmp_path, missing, words):
    path = tools(tmp_path / 'bin', *(name for name in ALL_TOOLS if name != missing))
    done = set_up(checkout, path=path)
    assert_stops_with(done, f'{words} was found.*apt install build-essential cmake')
    assert not (checkout / '.venv').exists()


def test_an_unsupported_python_is_refused_with_the_supported_ones(checkout):
    pretend = (
        'import runpy, sys; sys.version_info = (3, 13, 0, "final", 0); '
        'sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    done = set_up(checkout, python=(BASE_PYTHON, '-c', pretend))
    assert_stops_with(done, r'Python 3\.13 is not supported; name one of 3\.10, 3\.11, 3\.12')


@pytest.mark.parametrize('variables', [{'ROS': 'noetic'}, {'TORCH': 'rocm'}])
def test_an_unknown_choice_is_refused_with_the_known_ones(checkout, variables):
    done = set_up(checkout, **variables)
    assert_stops_with(done, 'ROS must be jazzy, kilted or system, and TORCH cpu or cuda')


def test_asking_for_a_sourced_ros_without_one_is_refused(checkout):
    assert_stops_with(set_up(checkout, ROS='system'), 'needs a sourced ROS 2')


def test_a_venv_of_another_python_is_left_alone(checkout, tmp_path):
    (checkout / '.venv').mkdir()
    (checkout / '.venv' / 'pyvenv.cfg').write_text('version = 3.9.1\n')
    done = set_up(checkout, path=tools(tmp_path / 'bin', *ALL_TOOLS))
    assert_stops_with(done, r'\.venv was not made by Python')
    assert (checkout / '.venv' / 'pyvenv.cfg').read_text() == 'version = 3.9.1\n'


def test_an_unreachable_index_is_said_and_a_second_try_starts_clean(checkout, tmp_path):
    path = tools(tmp_path / 'bin', *ALL_TOOLS)
    done = set_up(checkout, path=path)
    assert_stops_with(done, r'check that the package index can be reached \(details in \.ros/')
    left_over = checkout / '.venv' / 'lib' / 'half_installed'
    left_over.touch()
    done = set_up(checkout, path=path)
    assert_stops_with(done, 'check that the package index can be reached')
    assert not left_over.exists()


def test_an_index_without_the_cpu_build_of_torch_is_explained(checkout, tmp_path):
    """Plain PyPI has only the CUDA build, which nobody should get unasked."""
    wheels = tmp_path / 'wheels'
    wheels.mkdir()
    (wheels / 'torch-2.13.0-py3-none-any.whl').touch()
    path = tools(tmp_path / 'bin', *ALL_TOOLS)
    done = set_up(checkout, path=path, PIP_FIND_LINKS=str(wheels))
    assert_stops_with(done, 'no CPU build of PyTorch.*PIP_EXTRA_INDEX_URL.*TORCH=cuda')


ON_ARM = (
    'import platform, runpy, sys; platform.machine = lambda: "aarch64"; '
    'sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name="__main__")'
)


def test_who_has_no_wheels_of_ros_for_the_processor_is_told_what_there_is(checkout):
    done = set_up(checkout, python=(BASE_PYTHON, '-c', ON_ARM))
    assert_stops_with(
        done, "source a ROS 2 first, or .* without ROS: pip install '.\\[openvino\\]'"
    )


@pytest.mark.parametrize(('torch', 'build'), [('cpu', '2.13.0+cpu'), ('cuda', '2.13.0')])
def test_a_robot_on_arm_gets_the_gigabytes_of_cuda_only_when_it_asks(monkeypatch, torch, build):
    monkeypatch.setattr('platform.machine', lambda: 'aarch64')
    script, commands = runpy.run_path(str(ROOT / 'scripts' / 'setup_env.py')), []
    fake = SimpleNamespace(
        system=False, torch=torch, locks=['python.txt'], step=lambda *args: commands.append(args[1])
    )
    script['install_torch'](fake, ['pip', 'install'])
    assert commands[0][-1] == f'torch=={build}'


def test_a_sourced_ros_is_used_instead_of_the_wheels(checkout, tmp_path):
    (tmp_path / 'ros' / 'rclpy').mkdir(parents=True)
    (tmp_path / 'ros' / 'rclpy' / '__init__.py').touch()
    done = set_up(
        checkout,
        path=tools(tmp_path / 'bin', *ALL_TOOLS),
        ROS_DISTRO='humble',
        AMENT_PREFIX_PATH=str(tmp_path / 'ros'),
        PYTHONPATH=str(tmp_path / 'ros'),
    )
    assert 'set-up: create .venv-humble-system' in done.stderr
    config = (checkout / '.venv-humble-system' / 'pyvenv.cfg').read_text()
    assert 'include-system-site-packages = true' in config


def test_an_interrupted_set_up_says_so(checkout, tmp_path):
    path = tools(tmp_path / 'bin', *ALL_TOOLS)
    process = subprocess.Popen(
        [BASE_PYTHON, str(checkout / 'scripts' / 'setup_env.py')],
        env=environment(path=path),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr.read(len('set-up: create')) == 'set-up: create'
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().endswith('set-up stopped: interrupted; run the same command to go on.')


@pytest.fixture
def made_here():
    """Skip where the tests run in another environment than the one in this checkout."""
    if Path(sys.prefix).parent != ROOT or not (Path(sys.prefix) / 'pdl_ros.stamp').exists():
        pytest.skip('needs a checkout that was set up')


def in_checkout(*arguments, **options):
    command = [BASE_PYTHON, 'scripts/setup_env.py', *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


@pytest.mark.usefixtures('made_here')
def test_a_finished_set_up_does_nothing_again_and_has_the_programs_on_path():
    names = ['panoptic_node', 'demo_camera', 'pdl_ros', 'doctor']
    done = in_checkout('run', '--', 'bash', '-c', f'type -P {" ".join(names)}')
    assert (done.stderr, done.returncode) == ('', 0)
    programs = [Path(line) for line in done.stdout.splitlines()]
    assert [path.name for path in programs] == names
    assert all(path.is_relative_to(ROOT) for path in programs)


def test_the_set_up_chooses_the_demos_engine_for_the_frames_that_the_demo_has():
    words = runpy.run_path(str(ROOT / 'scripts' / 'setup_env.py'))['DEMO']
    said = dict(zip(words[::2], words[1::2], strict=True))
    high, wide = next(iter(open_camera('clip'))).shape[:2]
    assert said == {'--height': str(high), '--width': str(wide)}


@pytest.mark.usefixtures('made_here')
def test_a_shell_says_what_can_be_started_and_keeps_our_python_before_the_users(tmp_path):
    (tmp_path / '.bashrc').write_text('export PATH=/usr/bin:/bin:$PATH; alias mine=true\n')
    variables = {**os.environ, 'HOME': str(tmp_path), 'SHELL': shutil.which('bash')}
    script = 'type -P python3 panoptic_node; alias mine; exit\n'
    said = in_checkout('shell', env=variables, input=script).stdout
    assert 'panoptic_node --ros-args' in said
    assert f'\n{sys.prefix}/bin/python3\n' in said
    assert f'{ROOT}/.ros' in said
    assert "alias mine='true'" in said
    assert bool(shutil.which('ros2')) != ('have no `ros2`' in said)


def test_package_xml_names_the_version_of_the_python_package():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('version') == pdl_ros.__version__


# The keys that rosdep has for what pip calls otherwise; the rest comes from pip, as README.md says.
ROSDEP = {'opencv-python-headless': 'python3-opencv', 'pillow': 'python3-pil'}
FROM_PIP = {'numba', 'platformdirs', 'rich', 'safetensors', 'torch', 'typer'}


def test_rosdep_brings_what_the_python_package_needs():
    setup = (ROOT / 'setup.py').read_text()
    required = ast.literal_eval(re.search(r'install_requires=(\[.*?\])', setup, re.DOTALL)[1])
    names = {re.match(r'[\w-]+', word)[0].lower() for word in required} - FROM_PIP
    keys = {ROSDEP.get(name, 'python3-' + name.removeprefix('py')) for name in names}
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert keys == {
        tag.text for tag in package.iter('exec_depend') if tag.text.startswith('python3-')
    }


def test_every_ros_package_that_package_xml_names_is_used():
    used = '\n'.join(
        path.read_text()
        for folder in ('pdl_ros', 'launch', 'msg', 'test')
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.msg')
    )
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    named = {tag.text for kind in ('depend', 'exec_depend') for tag in package.iter(kind)}
    programs = {'ros2bag', 'rosbag2_storage_mcap', 'rosidl_default_runtime'}
    messages = {name for name in named if not name.startswith('python3-')} - programs
    assert [name for name in sorted(messages) if not re.search(rf'\b{name}\b', used)] == []


def test_importing_the_package_imports_nothing_heavy():
    code = (
        'import sys; before = set(sys.modules); import pdl_ros; '
        'print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))'
    )
    command = [sys.executable, '-c', code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {'torch', 'numpy', 'cv2', 'rclpy', 'yaml', 'typer'}
    assert not heavy & set(done.stdout.split())


def test_every_message_file_is_built_and_every_field_commented():
    built = set(re.findall(r'"(msg/\w+\.msg)"', (ROOT / 'CMakeLists.txt').read_text()))
    files = sorted((ROOT / 'msg').glob('*.msg'))
    assert built == {f'msg/{path.name}' for path in files}
    for path in files:
        commented = False  # a comment above a block of fields counts for all of the block
        for line in path.read_text().splitlines():
            if not line.strip():
                commented = False
            elif line.startswith('#'):
                commented = True
            else:
                assert '#' in line or commented, f'{path.name}: {line}'


def test_who_installs_with_pip_has_the_messages_that_recordings_are_read_by(checkout, tmp_path):
    build = [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path / 'lib')]
    subprocess.run(build, cwd=checkout, check=True, capture_output=True)
    code = (
        'import pdl_ros; from pdl_ros.bags.types import own_definitions; '
        'print(pdl_ros.__file__, *own_definitions())'
    )
    where = {**os.environ, 'PYTHONPATH': str(tmp_path / 'lib')}
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, env=where, check=True, capture_output=True
    )
    file, *found = done.stdout.decode().split()
    assert Path(file).is_relative_to(tmp_path / 'lib')
    assert sorted(found) == sorted(f'pdl_ros/msg/{p.stem}' for p in (ROOT / 'msg').glob('*.msg'))


def test_nothing_names_a_package_index():
    names = re.compile(r'https?://(?!www\.apache\.org|download\.ros\.org/schema)', re.IGNORECASE)
    files = [*ROOT.glob('requirements/*'), *ROOT.glob('scripts/*.py'), ROOT / 'Makefile']
    files += [ROOT / 'setup.py', ROOT / 'pyproject.toml', ROOT / '.ci' / 'run']
    assert [path.name for path in files if names.search(path.read_text())] == []
