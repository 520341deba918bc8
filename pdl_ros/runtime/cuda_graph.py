"""Work for a GPU recorded once and launched together ever after."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor

_LOG = logging.getLogger('pdl_ros.runtime')
KEPT = 4
"""Recordings that are kept; one more replaces the one unused for longest."""


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: Any


class CudaGraphs:
    """Run functions of tensors on one CUDA device by replaying recordings of them.

    Launching a kernel costs the host some microseconds, many small ones more than they take. The
    outputs are buffers of the recording, overwritten by the next call with the same key. What
    cannot be recorded is run kernel by kernel.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._recordings: OrderedDict[Hashable, _Recording | None] = OrderedDict()

    def __call__(self, key: Hashable, function: Callable[..., Any], *inputs: Tensor) -> Any:
        """Return function(*inputs). Whoever gives the same key gives a function that does the same,
        and inputs of the same shapes and types, on the device.
        """
        with torch.cuda.device(self._device):
            if key not in self._recordings:
                self._recordings[key] = self._try_to_record(function, inputs)
                if len(self._recordings) > KEPT:
                    torch.cuda.synchronize(self._device)  # it may still be running
                    self._recordings.popitem(last=False)
            self._recordings.move_to_end(key)
            recording = self._recordings[key]
            if recording is None:
                return function(*inputs)
            for ours, given in zip(recording.inputs, inputs, strict=True):
                ours.copy_(given)
            recording.graph.replay()
            return recording.outputs

    @property
    def recorded(self) -> list[bool]:
        """Whether what is kept could be recorded, the last used last."""
        return [recording is not None for recording in self._recordings.values()]

    def clear(self) -> None:
        """Forget all recordings and with them their memory."""
        self._recordings.clear()

    def _try_to_record(
        self, function: Callable[..., Any], inputs: tuple[Tensor, ...]
    ) -> _Recording | None:
        try:
            return self._record(function, inputs)
        except RuntimeError as error:  # also what CUDA raises when memory is short
            self.clear()
            torch.cuda.empty_cache()
            sizes = ', '.join('×'.join(map(str, given.shape)) for given in inputs)
            _LOG.warning('No CUDA graph for inputs of %s, so slower: %s', sizes, error)
            return None

    def _record(self, function: Callable[..., Any], inputs: tuple[Tensor, ...]) -> _Recording:
        inputs = tuple(given.clone() for given in inputs)
        # Libraries choose and load kernels at their first calls, which a recording does not allow.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # PyTorch's own stream for recordings is made once, on the device of the first of them all.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'):
            outputs = function(*inputs)
        return _Recording(graph, inputs, outputs)
