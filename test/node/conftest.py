"""Weights that find many instances without any training, and a node that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import torch
from rclpy.context import Context

from pdl_ros.engines import EngineSettings
from pdl_ros.network import checkpoints
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import get_variant
from pdl_ros.pipeline import Segmenter

VARIANT = 'scene_tiny'


@pytest.fixture(scope='session')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that find dozens of instances of several classes in any picture."""
    torch.manual_seed(3)
    variant = get_variant(VARIANT)
    network = PanopticDeepLab(variant)
    for head in (network.semantic_head, network.center_head, network.offset_head):
        torch.nn.init.normal_(head.predictor.weight, std=1.0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # take the statistics of the next batch as they are
    network.train()(torch.randn(4, 3, 96, 160))
    path = tmp_path_factory.mktemp('weights') / 'random.safetensors'
    checkpoints.save(network, variant, path, {})
    return path


@pytest.fixture(scope='session')
def segmenter(weights: Path) -> Segmenter:
    """The pipeline called directly, with the threads that the node has."""
    return Segmenter.load(weights, 'cpu', engine=EngineSettings('torch'))


@pytest.fixture(scope='session')
def parameters(weights: Path) -> dict[str, Any]:
    """The node's parameters; reliable, so that a test never waits for a frame that DDS lost."""
    return {
        'variant': VARIANT,
        'weights': weights,
        'device': 'cpu',
        'engine': 'torch',  # pixels are compared with those of `segmenter`
        'image_qos': 'reliable',
    }


@pytest.fixture
def rgb() -> np.ndarray:
    """A picture with structure, of a size that is no multiple of anything."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(11, 0).repeat(11, 1)[:97, :141])


@pytest.fixture
def context(domain: int) -> Iterator[Context]:
    """ROS in this process, in a domain of its own."""
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    yield context
    rclpy.try_shutdown(context=context)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
