"""Our one decoder, given a published architecture's weights, gives the published head outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant

from .published import filled_weights, relative_error

CASES = (
    ('cityscapes_resnet50', 'bowenc_r50_os32', '193x321_global', None),
    ('cityscapes_resnet50', 'bowenc_r50_os32', '257x513_pool5x9', (5, 9)),
    ('cityscapes_r52_dsconv', 'detectron2_r52_cityscapes_dsconv', '193x321_global', None),
    ('cityscapes_r52_dsconv', 'detectron2_r52_cityscapes_dsconv', '256x512_crop128x256', (8, 16)),
)


@pytest.mark.parametrize(('name', 'architecture', 'case', 'pool_window'), CASES)
def test_published_weights_give_the_published_heads(
    name: str,
    architecture: str,
    case: str,
    pool_window: tuple[int, int] | None,
    fixtures: Path,
    checkpoint_keys: Path,
) -> None:
    variant = get_variant(name)
    variant = replace(variant, decoder=replace(variant.decoder, pool_window=pool_window))
    network = PanopticDeepLab(variant).eval()
    network.load_state_dict(
        filled_weights(fixtures, checkpoint_keys / f'keys_{architecture}.json'), strict=True
    )
    data = np.load(fixtures / f'net_{architecture}_{case}.npz')
    image = (data['image'].astype(np.float32) - np.float32(variant.mean)) / np.float32(variant.std)
    with torch.inference_mode():
        heads = network(torch.from_numpy(image.transpose(2, 0, 1))[None])
    assert relative_error(heads.semantic[0], data['sem_lr']) < 1e-4
    assert relative_error(heads.center_heatmap[0], data['center_lr']) < 1e-4
    assert relative_error(heads.offset[0], data['offset_lr'] * heads.stride) < 1e-4
