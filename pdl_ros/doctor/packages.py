"""Python and its packages: which are here, which load, and what each is for."""

from __future__ import annotations

import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pdl_ros import __version__
from pdl_ros.doctor.child import ProbeError, ask
from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OPTIONAL, Finding, Section

_SUPPORTED = ((3, 10), (3, 12))
_AT_ONCE = 4
_PIP = 'python3 -m pip install'


class Package(NamedTuple):
    """module: what is imported. use: what it is needed for. install: what pip is given. on_gpu: of
    no use without one.
    """

    module: str
    title: str
    use: str
    install: str
    needed: bool = True
    on_gpu: bool = False


PACKAGES = (
    Package('torch', 'PyTorch', 'the network', 'torch'),
    Package('numpy', 'NumPy', 'every frame', 'numpy'),
    Package('numba', 'numba', 'the fusion on a CPU', '"numba>=0.59"'),
    Package('cv2', 'OpenCV', 'overlays and label images', '"opencv-python-headless<5"'),
    Package('PIL', 'Pillow', 'compressed images', 'pillow'),
    Package('scipy', 'SciPy', 'the tracker', 'scipy'),
    Package('yaml', 'PyYAML', 'label sets', 'PyYAML'),
    Package('safetensors', 'safetensors', 'weights', 'safetensors'),
    Package('platformdirs', 'platformdirs', 'the cache folder', 'platformdirs'),
    Package('typer', 'typer', 'the command pdl_ros, not for the node', 'typer', False),
    Package('rich', 'rich', 'the command pdl_ros, not for the node', 'rich', False),
    Package('onnx', 'onnx', 'engines openvino and onnxruntime', 'onnx', False),
    Package('openvino', 'OpenVINO', 'engine openvino, and pdl_ros label', 'openvino', False),
    Package(
        'onnxruntime',
        'ONNX Runtime',
        'engine onnxruntime, and exports',
        'onnxruntime onnxslim',
        False,
    ),
    Package('triton', 'Triton', 'the fast fusion on a GPU', 'triton', False, True),
    Package('tensorrt', 'TensorRT', 'engine tensorrt', 'tensorrt-cu12 (or -cu13)', False, True),
)


def python_section(torch: dict[str, Any] | ProbeError) -> Section:
    """Look at Python and import every package, each in a process of its own. torch: what the probe
    of that name answered.
    """
    has_gpu = not isinstance(torch, ProbeError) and bool(torch['gpus'])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(partial(_look_at, has_gpu=has_gpu), PACKAGES))
    return Section('Python', [_pdl_ros(), _python(), *found])


def _pdl_ros() -> Finding:
    folder = str(Path(__file__).parents[1])
    return Finding('pdl_ros', f'{__version__} in {folder}', data={'version': __version__})


def _python() -> Finding:
    version, (low, high) = platform.python_version(), _SUPPORTED
    found = f'{version}, {sys.executable}'
    data = {'version': version, 'executable': sys.executable, 'prefix': sys.prefix}
    if low <= sys.version_info[:2] <= high:
        return Finding('Python', found, data=data)
    advice = 'pdl_ros was tested with Python 3.10 to 3.12; make a venv with one of them.'
    return Finding('Python', found, DOUBTFUL, advice, data)


def _look_at(package: Package, has_gpu: bool = True) -> Finding:
    try:
        answer: dict[str, Any] = ask('package', package.module)
    except ProbeError as error:
        if error.kind == 'NotInstalledError' and package.on_gpu and not has_gpu:
            return Finding(package.title, 'not installed, and of no use without a GPU', OPTIONAL)
        return _broken(package, error)
    return Finding(package.title, answer['version'], data=answer)


def _broken(package: Package, error: ProbeError) -> Finding:
    what_for = f'{package.title} is needed for {package.use}'
    if error.kind == 'NotInstalledError':
        level = MISSING if package.needed else OPTIONAL
        advice = f'{what_for}: {_PIP} {package.install}.'
        return Finding(package.title, 'not installed', level, advice)
    level = MISSING if package.needed else DOUBTFUL
    advice = (
        f'{what_for}, and is installed but does not load: {_PIP} --force-reinstall '
        f'{package.install}.'
    )
    return Finding(package.title, f'does not load: {error}', level, advice)
