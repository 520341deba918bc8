"""The network as an ONNX file in fp32, kept in the cache: to export it takes seconds."""

from __future__ import annotations

import io

import torch

from pdl_ros.engines.onnx_export import export_onnx
from pdl_ros.engines.tensorrt_plans import model_facts
from pdl_ros.errors import require_package
from pdl_ros.network.panoptic_deeplab import PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime import cache


def fp32_model(network: PanopticDeepLab, variant: Variant) -> bytes:
    """Return the network as ONNX for inputs of any shape, out of the cache or exported now."""
    require_package('onnx', 'export')
    facts = model_facts(network, variant, 'fp32')
    facts |= {'what': f'{facts["what"]}.onnx', 'torch': torch.__version__}
    if (kept := cache.load(facts)) is not None:
        return kept
    exported = io.BytesIO()
    export_onnx(network, variant, exported)
    cache.store(facts, exported.getvalue())
    return exported.getvalue()
