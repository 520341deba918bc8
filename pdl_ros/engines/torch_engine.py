"""Run the network with PyTorch itself."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from pdl_ros.engines.cpu_layers import pack
from pdl_ros.engines.folding import fold
from pdl_ros.errors import PdlError
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.runtime.cpu_features import has_bf16
from pdl_ros.runtime.cuda import keep_float32_exact
from pdl_ros.runtime.cuda_graph import CudaGraphs
from pdl_ros.runtime.memory import give_freed_memory_back, keep_freed_memory

_DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class TorchEngine:
    """An `Engine` (which see) that needs nothing but PyTorch.

    `network` itself stays as it is; `self.network` is a copy made fast: folded, in `precision`, and
    on the CPU through oneDNN, on CUDA as a graph. Raises PdlError for a precision that the device
    has not.
    """

    name = 'torch'

    def __init__(self, network: nn.Module, device: torch.device, precision: str = 'fp32') -> None:
        if precision not in _DTYPES or (precision == 'fp16' and device.type == 'cpu'):
            possible = ' or '.join(p for p in _DTYPES if p != 'fp16' or device.type != 'cpu')
            raise PdlError(
                f'The torch engine has no {precision} on the device {str(device)!r}; use precision '
                f'{possible}, or auto.'
            )
        self.device, self.precision = device, precision
        folded = fold(network, _DTYPES[precision]).to(device)
        self._graphs: CudaGraphs | None = None
        if device.type == 'cpu':
            keep_freed_memory()
            folded = pack(folded)
        # Channels-last is the layout that CPU and GPU convolutions are written for.
        self.network = _Float32(folded.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        if device.type == 'cuda':
            if precision == 'fp32':
                keep_float32_exact()
            self._graphs = CudaGraphs(device)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> HeadOutputs:
        if self._graphs is None:
            heads: HeadOutputs = self.network(images)
        else:
            heads = self._graphs(images.shape, self.network, images)
        return heads

    @property
    def recorded(self) -> list[bool]:
        """Whether the shapes that are kept could be recorded as CUDA graphs; none on a CPU."""
        return [] if self._graphs is None else self._graphs.recorded

    def release(self) -> None:
        """Drop the weights and recordings."""
        if self._graphs is not None:
            self._graphs.clear()
        del self.network, self._graphs
        give_freed_memory_back()


def auto_precision(device: torch.device) -> str:
    """Return the fastest precision of a device that gives the published label maps.

    On a CPU that is bf16 only with instructions for it (AVX-512 BF16, AMX): others convert back
    and forth, which is slower than fp32.
    """
    if device.type == 'cuda':
        return 'fp16'
    return 'bf16' if has_bf16() else 'fp32'


class _Float32(nn.Module):
    """(N, 3, H, W) float32 -> heads in float32, whatever is between."""

    def __init__(self, folded: fx.GraphModule) -> None:
        super().__init__()
        self.folded = folded

    def forward(self, images: Tensor) -> HeadOutputs:
        heads = self.folded(images.contiguous(memory_format=torch.channels_last))
        semantic, center_heatmap, offset, stride = heads
        return HeadOutputs(semantic.float(), center_heatmap.float(), offset.float(), stride)
