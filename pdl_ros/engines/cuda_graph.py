"""A network's kernels recorded once for each shape of images and launched together ever after."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pdl_ros.network.heads import HeadOutputs

_LOG = logging.getLogger('pdl_ros.engines')
SHAPES = 4
"""Shapes of images whose recording is kept; one more replaces the one unused for longest."""


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    images: Tensor
    heads: HeadOutputs


class GraphedNetwork:
    """Run a network on one CUDA device by replaying recordings, for the last few shapes.

    The heads are buffers of the recording, overwritten by the next call. A shape that cannot be
    recorded is run kernel by kernel.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._recordings: OrderedDict[torch.Size, _Recording | None] = OrderedDict()

    def __call__(self, images: Tensor) -> HeadOutputs:
        """(N, 3, H, W) float32 on the device -> heads in float32."""
        with torch.cuda.device(self._device):
            if images.shape not in self._recordings:
                self._recordings[images.shape] = self._try_to_record(images)
                if len(self._recordings) > SHAPES:
                    self._recordings.popitem(last=False)
            self._recordings.move_to_end(images.shape)
            recording = self._recordings[images.shape]
            if recording is None:
                heads: HeadOutputs = self._network(images)
                return heads
            recording.images.copy_(images)
            recording.graph.replay()
            return recording.heads

    def clear(self) -> None:
        """Forget all recordings and with them their memory."""
        self._recordings.clear()

    def _try_to_record(self, images: Tensor) -> _Recording | None:
        try:
            return self._record(images)
        except RuntimeError as error:  # also what CUDA raises when memory is short
            self.clear()
            torch.cuda.empty_cache()
            size = '×'.join(map(str, images.shape))
            _LOG.warning('No CUDA graph for images of %s, so slower: %s', size, error)
            return None

    def _record(self, images: Tensor) -> _Recording:
        images = images.clone()
        # Libraries choose and load kernels at their first calls, which a recording does not allow.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._network(images)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode='thread_local'):
            heads = self._network(images)
        return _Recording(graph, images, heads)
