"""Resolve the dependencies and write requirements/*.txt.

    python scripts/lock.py             take in what setup.py and ros.in name anew, or no longer
    python scripts/lock.py --upgrade   move everything to the newest versions that fit together

Needs pip 23 or newer beside each of PYTHONS. PyTorch is left out: scripts/setup_env.py picks its
build. It runs on x86_64, and keeps to x86_64 what has no wheel for ARM.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ('3.10', '3.11', '3.12')
DISTROS = ('jazzy', 'kilted')
CUDA = ('nvidia-', 'cuda-')  # what the CUDA build of PyTorch brings along
# Of wheels for ARM, those that run on the glibc of Ubuntu 22.04 or newer.
ARM = ('manylinux2014_aarch64', *(f'manylinux_2_{minor}_aarch64' for minor in range(17, 36)))

Pins = dict[str, dict[str, str]]  # project -> version of Python -> version
REQUIREMENTS = ROOT / 'requirements'


def main() -> None:
    keep = '--upgrade' not in sys.argv[1:]
    # The versions must suit NumPy 1.26 too: the messages of a ROS distribution need it.
    extras = 'bag,demo,export,openvino,test,train'
    wanted = [f'{ROOT}[{extras}]', 'setuptools<80', 'numpy==1.26.4']
    python = resolve(wanted, [REQUIREMENTS / 'python.txt'] * keep)
    del python['numpy']
    write(REQUIREMENTS / 'python.txt', python, without_arm_wheel(python))
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


def without_arm_wheel(pins: Pins) -> set[str]:
    """Ask pip which of these packages it could not install on aarch64."""
    missing: set[str] = set()
    platforms = [word for name in ARM for word in ('--platform', name)]
    for python in PYTHONS:
        wanted = {name: f'{name}=={by[python]}' for name, by in pins.items() if python in by}
        with tempfile.TemporaryDirectory() as folder:
            command = [f'python{python}', '-m', 'pip', 'install', '--quiet', '--dry-run']
            command += ['--no-deps', '--only-binary=:all:', '--target', folder, *platforms]
            while wanted := {name: pin for name, pin in wanted.items() if name not in missing}:
                done = subprocess.run([*command, *wanted.values()], capture_output=True, text=True)
                if not done.returncode:
                    break
                # It stops at the first one.
                found = re.search(r'No matching distribution found for (\S+?)==', done.stderr)
                if not found or found[1] not in wanted:
                    raise SystemExit(done.stderr)
                missing.add(found[1])
    print(f'only for x86_64: {", ".join(sorted(missing)) or "nothing"}', file=sys.stderr)
    return missing


def write(path: Path, pins: Pins, x86: Container[str] = ()) -> None:
    title = '# Written by scripts/lock.py: every package, exactly, for Python 3.10 to 3.12.'
    path.write_text('\n'.join([title, *pin_lines(pins, x86)]) + '\n')


def pin_lines(pins: Pins, x86: Container[str] = ()) -> list[str]:
    """One line where all Pythons agree, else one with a marker for each version of Python; those
    of the packages `x86` for that processor only.
    """
    lines = []
    for name, versions in pins.items():
        markers = ["platform_machine == 'x86_64'"] if name in x86 else []
        if len(versions) == len(PYTHONS) and len(set(versions.values())) == 1:
            lines.append('; '.join([f'{name}=={versions[PYTHONS[0]]}', *markers]))
            continue
        for python, version in versions.items():
            own = ' and '.join([f"python_version == '{python}'", *markers])
            lines.append(f'{name}=={version}; {own}')
    return lines


if __name__ == '__main__':
    main()
