"""Make the environment that `make demo` and `make test` run in, and run commands in it.

    python3 scripts/setup_env.py                  set up; does nothing when all is up to date
    python3 scripts/setup_env.py run -- COMMAND   set up if needed, then run COMMAND
    python3 scripts/setup_env.py shell            set up if needed, then open $SHELL
    python3 scripts/setup_env.py env              set up if needed, then print export lines

ROS 2 comes from pip wheels (ROS=jazzy, the default, or ROS=kilted) into a virtual environment, or,
where a ROS distribution is sourced, from that one. TORCH=cuda takes the CUDA build of PyTorch.
Everything is made in .venv* and .ros/, from the pinned versions in requirements/. The wheels' own
.venv/bin/python works without `run`; beside a sourced ROS the library path needs it. For the tests
vision_msgs is built as well, where its sources lie in ../shared and ROS has none.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = 'torch==2.13.0'
VERSION = '.'.join(map(str, sys.version_info[:2]))
SUPPORTED = ('3.10', '3.11', '3.12')  # the pinned wheels exist for these
UNFINISHED = 'unfinished'
VISION_MSGS = ROOT.parent / 'shared' / 'reference' / 'vision_msgs'  # the wheels have none
DEMO = ('--height', '272', '--width', '640')
VARIABLES = ('PATH', 'LD_LIBRARY_PATH', 'AMENT_PREFIX_PATH', 'VIRTUAL_ENV')

# Placed in the virtual environment, so that its plain `python` finds the messages as well. At the
# end of the paths: a sourced colcon workspace goes first. Read before ros_wheels_bootstrapper.pth,
# which restarts Python with the library path as it is then.
SITE_HOOK = """\
import os


def append(name, *folders):
    kept = [part for part in os.environ.get(name, '').split(os.pathsep) if part]
    kept += [folder for folder in folders if folder not in kept]
    os.environ[name] = os.pathsep.join(kept)


append('LD_LIBRARY_PATH', {lib!r})
append('AMENT_PREFIX_PATH', {prefix!r}, *{underlay!r})
"""

GREETING = """\
pdl_ros on ROS 2 {ros}. The programs of the package are on PATH, for example:
  panoptic_node --ros-args -p variant:=street_efficientnet_lite0 -r image:=/camera/image_raw
  demo_camera scene 10 0 1 --ros-args -r image:=/camera/image_raw
  pdl_ros --help
"""
NO_ROS2 = """\
The wheels of ROS have no `ros2`: for `ros2 launch`, `ros2 topic` and the like, source a ROS
distribution. `panoptic_node ...` does what `ros2 run pdl_ros panoptic_node ...` does there.
"""


class SetupError(Exception):
    """Set-up cannot go on; the message is one sentence for the user."""


class Environment:
    """One flavour of the environment: where it lies and what goes into it."""

    def __init__(self) -> None:
        sourced = ros_is_sourced()
        self.ros = os.environ.get('ROS') or ('system' if sourced else 'jazzy')
        self.torch = os.environ.get('TORCH') or 'cpu'
        if self.ros not in ('jazzy', 'kilted', 'system') or self.torch not in ('cpu', 'cuda'):
            raise SetupError('ROS must be jazzy, kilted or system, and TORCH cpu or cuda.')
        self.system = self.ros == 'system'
        if self.system and not sourced:
            raise SetupError('ROS=system needs a sourced ROS 2 whose rclpy this Python can import.')
        words = [os.environ['ROS_DISTRO']] if self.system else []
        words += [word for word in (self.ros, self.torch) if word not in ('jazzy', 'cpu')]
        self.venv = ROOT / '-'.join(['.venv', *words])
        self.python = self.venv / 'bin' / 'python'
        self.underlay = [] if self.system else [str(self.venv)]  # the wheels' ROS is the venv
        self.work = ROOT / '.ros' / ('-'.join(words) or 'jazzy')
        self.prefix = self.work / 'install'
        self.log = self.work / 'setup.log'
        locks = ROOT / 'requirements'
        self.locks = [locks / 'python.txt', locks / f'ros-{self.ros}.txt']

    def variables(self) -> dict[str, str]:
        """Return the environment variables of a command that runs in this environment."""
        env = dict(os.environ)
        env.pop('PYTHONHOME', None)
        env.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)  # of a parent Python in another venv
        if not self.system:  # leave a sourced ROS that is not wanted
            foreign = tuple(part for part in env.pop('AMENT_PREFIX_PATH', '').split(':') if part)
            for name in ('CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH', 'PYTHONPATH', 'ROS_DISTRO'):
                env.pop(name, None)
            for name in ('LD_LIBRARY_PATH', 'PATH'):
                parts = env.get(name, '').split(':')
                env[name] = ':'.join(part for part in parts if not part.startswith(foreign))
        for name, folders in {
            'PATH': [str(self.venv / 'bin'), str(self.prefix / 'lib' / 'pdl_ros')],
            'LD_LIBRARY_PATH': [str(self.prefix / 'lib')],
            'AMENT_PREFIX_PATH': [str(self.prefix), *self.underlay],
            'CMAKE_PREFIX_PATH': self.underlay,
        }.items():
            old = [part for part in env.get(name, '').split(':') if part and part not in folders]
            env[name] = ':'.join([*folders, *old])
        return {**env, 'VIRTUAL_ENV': str(self.venv)}

    def ask(self, code: str) -> str:
        """Return what the environment's Python prints."""
        command = [str(self.python), '-c', code]
        done = subprocess.run(command, env=self.variables(), capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f'{self.venv.name} is broken; remove it and run this again.')
        return done.stdout.strip()

    def step(self, title: str, command: list, trouble: str = '') -> None:
        """Run one command, its output in the log; say what is done and how long it took. What fails
        without a `trouble` to say is not needed.
        """
        print(f'set-up: {title} ...', end='', file=sys.stderr, flush=True)
        start = time.monotonic()
        with self.log.open('a') as log:
            done = subprocess.run(
                [str(word) for word in command],
                cwd=ROOT, env=self.variables(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        result = 'failed' if done.returncode else f'{time.monotonic() - start:.1f} s'
        print(f' {result}', file=sys.stderr, flush=True)
        if done.returncode and trouble:
            raise SetupError(f'{trouble} (details in {self.log.relative_to(ROOT)}).')


def main(arguments: list[str]) -> int:
    command = arguments[2:] if arguments[:2] == ['run', '--'] else []
    if arguments not in ([], ['env'], ['shell']) and not command:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if VERSION not in SUPPORTED:
            raise SetupError(
                f'Python {VERSION} is not supported; name one of {", ".join(SUPPORTED)}, for '
                'example with make PYTHON=python3.11.'
            )
        environment = Environment()
        (ROOT / '.ros').mkdir(exist_ok=True)
        with (ROOT / '.ros' / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one set-up at a time
            set_up(environment)
    except (SetupError, OSError) as error:
        print(f'set-up stopped: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nset-up stopped: interrupted; run the same command to go on.', file=sys.stderr)
        return 130
    variables = environment.variables()
    if arguments == ['env']:
        print(exports(variables), end='')
    if arguments == ['shell']:
        command = shell(environment, variables)
    if command:
        os.execvpe(command[0], command, variables)
    return 0


def exports(variables: dict[str, str]) -> str:
    return ''.join(f'export {name}={shlex.quote(variables[name])}\n' for name in VARIABLES)


def shell(environment: Environment, variables: dict[str, str]) -> list[str]:
    """Say what there is to start, and return the command of the user's shell."""
    ros = os.environ['ROS_DISTRO'] if environment.system else environment.ros
    print(GREETING.format(ros=ros), end='')
    if not shutil.which('ros2', path=variables['PATH']):
        print(NO_ROS2, end='')
    program = os.environ.get('SHELL') or 'bash'
    if Path(program).name != 'bash':
        return [program]
    # The user's own start-up file may put other Pythons first on PATH.
    start_up = environment.work / 'bashrc'
    start_up.write_text(f'[ -f ~/.bashrc ] && . ~/.bashrc\n{exports(variables)}')
    return [program, '--rcfile', str(start_up), '-i']


def set_up(environment: Environment) -> None:
    """Do what the stamps say is missing; a stamp is written when its step is complete."""
    packages = fingerprint(environment.locks, ROOT / 'setup.py', Path(__file__))
    sources = [ROOT / 'CMakeLists.txt', ROOT / 'package.xml', *sorted(ROOT.glob('msg/*.msg'))]
    sources += sorted(ROOT.glob('include/pdl_ros/*'))
    messages = fingerprint(environment.locks, *sources)
    vision_msgs = messages + fingerprint(sorted(VISION_MSGS.rglob('*.msg')))
    packages_stamp = environment.venv / 'pdl_ros.stamp'
    messages_stamp = environment.work / 'messages.stamp'
    vision_msgs_stamp = environment.work / 'vision_msgs.stamp'
    if (read(packages_stamp), read(messages_stamp)) == (packages, messages) and (
        read(vision_msgs_stamp) == vision_msgs or not VISION_MSGS.is_dir()
    ):
        return
    check_machine(environment)
    environment.work.mkdir(parents=True, exist_ok=True)
    environment.log.write_text('')
    if read(packages_stamp) != packages:
        install_packages(environment, packages_stamp)
        packages_stamp.write_text(packages)
    if read(messages_stamp) != messages:
        messages_stamp.unlink(missing_ok=True)
        build_messages(environment)
        messages_stamp.write_text(messages)
    if VISION_MSGS.is_dir() and read(vision_msgs_stamp) != vision_msgs:
        build_vision_msgs(environment)
        vision_msgs_stamp.write_text(vision_msgs)
    # Else the first start does it: where this fails, as without a cache, nothing is lost.
    prepare = [environment.python, '-m', 'pdl_ros.cli', 'compile']
    environment.step("compile the CPU kernels, choose the node's engine", prepare)
    environment.step("choose the demo's engine", [*prepare, *DEMO])


def check_machine(environment: Environment) -> None:
    if not environment.system and (sys.platform, platform.machine()) != ('linux', 'x86_64'):
        raise SetupError(
            'the ROS wheels need Linux on x86_64; elsewhere, source a ROS 2 first, or install the '
            "part without ROS: pip install '.[openvino]' (docs/small_machines.md)."
        )
    config = read(environment.venv / 'pyvenv.cfg')
    if config and f'version = {VERSION}.' not in config:
        raise SetupError(
            f'{environment.venv.name} was not made by Python {VERSION}; remove it, or name the '
            'Python that made it with make PYTHON=...'
        )
    for what, names in {
        'C compiler': (os.environ.get('CC', 'cc'), 'gcc', 'clang'),
        'C++ compiler': (os.environ.get('CXX', 'c++'), 'g++', 'clang++'),
        'cmake': ('cmake',),
        'make': ('make',),
    }.items():
        if not any(shutil.which(name) for name in names):
            raise SetupError(
                f'no {what} was found, and the ROS messages must be compiled; '
                'on Debian or Ubuntu: apt install build-essential cmake.'
            )
    headers = Path(sysconfig.get_paths()['include'], 'Python.h').exists()
    if not headers or not find_spec('ensurepip') or not find_spec('venv'):
        raise SetupError(
            f'{sys.executable} lacks its headers or its venv module; on Debian or Ubuntu: '
            'apt install python3-dev python3-venv.'
        )


def ros_is_sourced() -> bool:
    if not (os.environ.get('ROS_DISTRO') and os.environ.get('AMENT_PREFIX_PATH')):
        return False
    command = [sys.executable, '-c', 'import rclpy']
    return subprocess.run(command, capture_output=True).returncode == 0


def install_packages(environment: Environment, stamp: Path) -> None:
    """Create the virtual environment and fill it with the pinned wheels."""
    options = ['--system-site-packages'] if environment.system else []
    # An interrupted pip may leave half a package, which it cannot repair.
    options += ['--clear'] if read(stamp) == UNFINISHED else []
    environment.step(
        f'create {environment.venv.name}',
        [sys.executable, '-m', 'venv', *options, environment.venv],
        'the virtual environment could not be created',
    )
    stamp.write_text(UNFINISHED)
    pip = [environment.python, '-m', 'pip', 'install', '--no-input', '--no-compile']
    install_torch(environment, pip)
    environment.step(
        'install the pinned packages',
        [*pip, '--no-deps', *(word for lock in environment.locks for word in ('-r', lock))],
        'the pinned packages could not be installed; check that the package index can be reached',
    )
    environment.step(
        'install the checkout',
        [*pip, '--no-deps', '--no-build-isolation', '--editable', ROOT],
        'this checkout could not be installed',
    )
    site = Path(environment.ask('import sysconfig; print(sysconfig.get_paths()["purelib"])'))
    prefix = str(environment.prefix)
    hook = SITE_HOOK.format(lib=f'{prefix}/lib', prefix=prefix, underlay=environment.underlay)
    (site / '_pdl_ros_checkout.py').write_text(hook)
    messages = environment.prefix / site.relative_to(environment.venv)
    (site / '_pdl_ros_checkout.pth').write_text(f'{ROOT}\n{messages}\nimport _pdl_ros_checkout\n')
    if not environment.system:
        repair_cmake_paths(environment)
    compile_packages(environment, site)


def compile_packages(environment: Environment, site: Path) -> None:
    """Compile all packages on all cores; pip would take one core, and the first start too.

    A few files are templates, which do not compile.
    """
    code = f'import compileall; compileall.compile_dir({str(site)!r}, quiet=2, workers=0)'
    environment.step(
        'compile the packages',
        [environment.python, '-c', code],
        'the packages could not be compiled',
    )


def install_torch(environment: Environment, pip: list) -> None:
    find = 'from importlib.util import find_spec; print(find_spec("torch"))'
    if environment.system and environment.ask(find) != 'None':
        return  # the machine's own build, as on a Jetson
    cpu = environment.torch == 'cpu'
    # Plain PyPI has the CUDA build for Linux, on ARM too; elsewhere there is no other than this.
    wanted = f'{TORCH}+cpu' if cpu and sys.platform == 'linux' else TORCH
    command = [*pip, *(['--no-deps'] if cpu else ['-c', environment.locks[0]]), wanted]
    trouble = 'PyTorch could not be installed; check that the package index can be reached'
    try:
        environment.step(f'install {wanted}', command, trouble)
    except SetupError:
        # pip's words where it reached an index that has other builds of torch only
        refused = r'torch==\S+ \(from versions: (?!none)|ResolutionImpossible'
        if not cpu or not re.search(refused, environment.log.read_text()):
            raise
        raise SetupError(
            f'the package index has no CPU build of PyTorch ({wanted}); point PIP_EXTRA_INDEX_URL '
            "at PyTorch's CPU index, or take the CUDA build, some gigabytes, with TORCH=cuda."
        ) from None


def repair_cmake_paths(environment: Environment) -> None:
    """Replace the include paths of the machine that built the wheels with this one's."""
    numpy = environment.ask('import numpy; print(numpy.get_include())')
    build = '/opt/python/[^/";]+'
    here = {
        build + r'/lib/python[\d.]+/site-packages/numpy/_core/include': numpy,
        build + r'/include/python[\d.]+': sysconfig.get_paths()['include'],
    }
    for path in (environment.venv / 'share').rglob('*.cmake'):
        text = old = path.read_text()
        for pattern, folder in here.items():
            text = re.sub(pattern, folder.replace('\\', r'\\'), text)
        if text != old:
            path.write_text(text)


def build_messages(environment: Environment) -> None:
    folder, prefix = environment.work / 'build', environment.prefix
    for old in (folder, prefix):
        shutil.rmtree(old, ignore_errors=True)
    build(environment, 'the ROS messages', ROOT, folder, '-DPDL_ROS_INSTALL_PYTHON=OFF')
    for name in ('config', 'launch'):  # links: an edit in the checkout counts at once
        (prefix / 'share' / 'pdl_ros' / name).symlink_to(ROOT / name)


def build_vision_msgs(environment: Environment) -> None:
    """Build vision_msgs beside our messages, where ROS has none; only tests need it."""
    find = 'from importlib.util import find_spec as f; s = f("vision_msgs"); print(s and s.origin)'
    if environment.ask(find).startswith(('None', str(environment.prefix))):
        # The folder is kept: what has been compiled is only installed anew beside newer messages.
        folder = environment.work / 'build_vision_msgs'
        build(environment, 'vision_msgs for the tests', VISION_MSGS, folder)


def build(environment: Environment, what: str, source: Path, folder: Path, *options: str) -> None:
    """Compile a package of messages and install it."""
    configure = ['cmake', '-S', source, '-B', folder, *options]
    configure += ['-DBUILD_TESTING=OFF', '-DCMAKE_BUILD_TYPE=Release']
    configure += [f'-DPython3_EXECUTABLE={environment.python}']
    configure += [f'-DCMAKE_INSTALL_PREFIX={environment.prefix}']
    configure += [f'-DCMAKE_INSTALL_RPATH={environment.prefix}/lib']
    trouble = f'{what} could not be built'
    environment.step(f'configure {what}', configure, trouble)
    jobs = os.cpu_count() or 1
    install = ['cmake', '--build', folder, '--target', 'install', '--parallel', jobs]
    environment.step(f'build {what}', install, trouble)


def fingerprint(locks: list[Path], *paths: Path) -> str:
    digest = hashlib.sha256(f'{ROOT} {sys.version}'.encode())
    for path in (*locks, *paths):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ''


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
