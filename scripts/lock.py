"""Resolve the dependencies and write requirements/*.txt.

    python scripts/lock.py             take in what setup.py and ros.in name anew, or no longer
    python scripts/lock.py --upgrade   move everything to the newest versions that fit together

Needs pip 23 or newer beside each of PYTHONS. PyTorch is left out: scripts/setup_env.py picks its
build.
"""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ('3.10', '3.11', '3.12')
DISTROS = ('jazzy', 'kilted')
CUDA = ('nvidia-', 'cuda-')  # what the CUDA build of PyTorch brings along
X86 = (
    'openvino',
    'tensorrt-cu12-bindings',
    'triton',
)  # packages without wheels for every processor

Pins = dict[str, dict[str, str]]  # project -> version of Python -> version
REQUIREMENTS = ROOT / 'requirements'


def main() -> None:
    keep = '--upgrade' not in sys.argv[1:]
    # The versions must suit NumPy 1.26 too: the messages of a ROS distribution need it.
    extras = 'bag,demo,export,openvino,test,train'
    wanted = [f'{ROOT}[{extras}]', 'setuptools<80', 'numpy==1.26.4']
    python = resolve(wanted, [REQUIREMENTS / 'python.txt'] * keep)
    del python['numpy']
    write(REQUIREMENTS / 'python.txt', python)
    for distro in DISTROS:
        path = REQUIREMENTS / f'ros-{distro}.txt'
        lines = (REQUIREMENTS / 'ros.in').read_text().replace('DISTRO', distro).splitlines()
        wanted = [line for line in lines if line and not line.startswith(('#', *others(distro)))]
        found = resolve(wanted + pin_lines(python), [path] * keep)
        ros = {name: versions for name, versions in found.items() if name not in python}
        write(path, ros)


def others(distro: str) -> list[str]:
    """Name the packages that only the other distributions have, as the start of a line."""
    return [f'ros-{other}-' for other in DISTROS if other != distro]


def resolve(wanted: list[str], kept: list[Path]) -> Pins:
    """Ask pip, for each Python, what it would install; versions in the files `kept` stay."""
    constraints = [word for path in kept for word in ('-c', str(path))]
    pins: Pins = defaultdict(dict)
    for python in PYTHONS:
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, 'report.json')
            command = [f'python{python}', '-m', 'pip', 'install', '--quiet', '--dry-run']
            command += ['--ignore-installed', '--report', str(report), *constraints]
            subprocess.run([*command, *wanted], check=True)
            for item in json.loads(report.read_text())['install']:
                name = item['metadata']['name'].lower().replace('_', '-')
                if name not in ('pdl-ros', 'torch') and not name.startswith(CUDA):
                    pins[name][python] = item['metadata']['version']
        print(f'python{python}: {len(pins)} packages', file=sys.stderr)
    return dict(sorted(pins.items()))


def write(path: Path, pins: Pins) -> None:
    title = '# Written by scripts/lock.py: every package, exactly, for Python 3.10 to 3.12.'
    path.write_text('\n'.join([title, *pin_lines(pins)]) + '\n')


def pin_lines(pins: Pins) -> list[str]:
    """One line where all Pythons agree, else one with a marker for each version of Python."""
    lines = []
    for name, versions in pins.items():
        if name in X86 and len(set(versions.values())) == 1:
            lines.append(f"{name}=={versions[PYTHONS[0]]}; platform_machine == 'x86_64'")
        elif len(versions) == len(PYTHONS) and len(set(versions.values())) == 1:
            lines.append(f'{name}=={versions[PYTHONS[0]]}')
        else:
            lines += [f"{name}=={v}; python_version == '{p}'" for p, v in versions.items()]
    return lines


if __name__ == '__main__':
    main()
