"""The fusion on a GPU, recorded once for each form of frame and launched together ever after."""

from __future__ import annotations

import torch
from torch import Tensor

from pdl_ros.fusion.entry import fuse
from pdl_ros.fusion.result import PanopticResult
from pdl_ros.fusion.settings import FusionSettings
from pdl_ros.labels import LabelSet
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.runtime.cuda_graph import CudaGraphs


class GraphedFusion:
    """Do what `fuse` does on one CUDA device, in a quarter of the time: it is many small kernels.

    The result is overwritten by the next frame's, so it must be copied before.
    """

    def __init__(self, device: torch.device) -> None:
        self.graphs = CudaGraphs(device)

    def __call__(
        self,
        heads: HeadOutputs,
        label_set: LabelSet,
        settings: FusionSettings,
        size: tuple[int, int],
        valid: tuple[int, int] | None = None,
    ) -> PanopticResult:
        """Merge the head outputs of one frame; see `fuse`."""
        stride = heads.stride

        def run(semantic: Tensor, center_heatmap: Tensor, offset: Tensor) -> PanopticResult:
            outputs = HeadOutputs(semantic, center_heatmap, offset, stride)
            return fuse(outputs, label_set, settings, size, valid)

        key = (heads.semantic.shape, heads.semantic.dtype, stride, label_set, settings, size, valid)
        result: PanopticResult = self.graphs(key, run, *heads[:3])
        return result
