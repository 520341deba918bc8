"""Build and run an engine with TensorRT, 10.1 or newer: the one file that talks to it.

TensorRT 11 takes the precision of every layer from the network and has neither precision flags nor
calibrators; 10 can do the same. So the ONNX file already is what shall run (calibration.py).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any, SupportsInt

import tensorrt as trt
import torch
from torch import Tensor, nn

from pdl_ros.engines.devices import on_device
from pdl_ros.engines.onnx_export import OUTPUTS
from pdl_ros.engines.progress import Progress
from pdl_ros.errors import PdlError, require
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import STRIDE
from pdl_ros.runtime.cuda_graph import KEPT, CudaGraphs

Shape = tuple[int, int, int, int]

IMAGES = 'images'

_LOG = logging.getLogger('pdl_ros.engines')
_LEVELS = {
    trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.Severity.ERROR: logging.ERROR,
    trt.ILogger.Severity.WARNING: logging.INFO,
    trt.ILogger.Severity.INFO: logging.DEBUG,
}


class _Logger(trt.ILogger):
    """TensorRT reports why something failed only here."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.error = 'it gave no reason'

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        level = _LEVELS.get(severity)
        if level is None:  # verbose: hundreds of thousands of lines in a build
            return
        if level == logging.ERROR:
            self.error = ' '.join(msg.split())
        _LOG.log(level, 'TensorRT: %s', msg)


_logger = _Logger()  # TensorRT wants one for the whole process


class _Monitor(trt.IProgressMonitor):
    """Hands TensorRT's phases on to a `Progress`, and its wish to stop back."""

    def __init__(self, progress: Progress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: SupportsInt) -> None:
        self._progress.step(phase_name, 0, int(num_steps))

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        self._progress.step(phase_name, int(step) + 1)
        return not self._progress.stop.is_set()

    def phase_finish(self, phase_name: str) -> None:
        self._progress.finish(phase_name)


def build(
    model: bytes, shapes: tuple[Shape, Shape, Shape], timings: bytes, progress: Progress
) -> tuple[bytes, bytes]:
    """Build a serialised engine, for the current CUDA device, from an ONNX file's bytes.

    shapes: the smallest, usual and largest images (N, 3, H, W). timings: what an earlier build
    returned as its second result, or b''. Raises PdlError where TensorRT fails or is stopped.
    """
    try:
        builder = trt.Builder(_logger)
    except TypeError:
        raise PdlError(f'TensorRT cannot use this GPU or driver: {_logger.error}') from None
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, _logger)
    if not parser.parse(model):
        raise PdlError(f'TensorRT cannot read the network: {parser.get_error(0).desc()}')
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 is asked for by those who want it exact
    monitor = _Monitor(progress)
    config.progress_monitor = monitor
    config.set_timing_cache(config.create_timing_cache(timings), ignore_mismatch=False)
    profile = builder.create_optimization_profile()
    profile.set_shape(IMAGES, *(trt.Dims(list(shape)) for shape in shapes))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        stopped = progress.stop.is_set()
        raise PdlError(
            'The TensorRT build was stopped.'
            if stopped
            else f'TensorRT could not build the engine: {_logger.error}'
        )
    return _bytes(plan), _bytes(config.get_timing_cache().serialize())


class TensorRTEngine:
    """An `Engine` (which see): a serialised engine on PyTorch's memory, as a CUDA graph.

    All shapes share one scratch memory, so two calls must not run at the same time.
    """

    name = 'tensorrt'

    def __init__(self, plan: bytes, device: torch.device, precision: str) -> None:
        self.device, self.precision = device, precision
        # One context and one recording for each shape: they come and go together.
        self._kept: OrderedDict[torch.Size, tuple[_Shaped, CudaGraphs]] = OrderedDict()
        with on_device(device):
            try:
                runtime = trt.Runtime(_logger)
            except TypeError:
                raise PdlError(f'TensorRT cannot use this GPU or driver: {_logger.error}') from None
            engine = runtime.deserialize_cuda_engine(plan)
            require(engine is not None, f'TensorRT refuses the engine: {_logger.error}')
            self._engine = engine
            size = max(engine.device_memory_size_v2, 1)
            self._scratch = torch.empty(size, dtype=torch.uint8, device=device)
        limits = engine.get_tensor_profile_shape(IMAGES, 0)
        self._low, self._high = _tuple(limits[0]), _tuple(limits[2])

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> HeadOutputs:
        network, graphs = self._kept.get(images.shape) or self._prepare(images.shape)
        self._kept.move_to_end(images.shape)
        heads: HeadOutputs = graphs(images.shape, network, images)
        return heads

    def release(self) -> None:
        """Drop the engine and its buffers."""
        with on_device(self.device):
            torch.cuda.synchronize(self.device)
            self._kept.clear()
            del self._engine, self._scratch

    def _prepare(self, shape: torch.Size) -> tuple[_Shaped, CudaGraphs]:
        fits = zip(self._low, shape, self._high, strict=True)
        require(
            all(low <= n <= high for low, n, high in fits),
            f'The TensorRT engine takes images from {_text(self._low)} to {_text(self._high)}, and '
            f'this is {_text(shape)}; give the node the size of its camera as warm_up_size, or '
            'build an engine with pdl_ros export tensorrt --height --width.',
        )
        with on_device(self.device):
            if len(self._kept) == KEPT:
                torch.cuda.synchronize(self.device)  # it may still be running
                self._kept.popitem(last=False)
            network = _Shaped(self._engine, self._scratch, shape)
        self._kept[shape] = network, CudaGraphs(self.device)
        return self._kept[shape]


class _Shaped(nn.Module):
    """The engine set up for one shape of images, on the current stream."""

    def __init__(self, engine: trt.ICudaEngine, scratch: Tensor, shape: torch.Size) -> None:
        super().__init__()
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        self._context = engine.create_execution_context(managed)
        require(self._context is not None, f'TensorRT cannot run the engine: {_logger.error}')
        self._context.set_device_memory(scratch.data_ptr(), scratch.numel())
        fits = self._context.set_input_shape(IMAGES, tuple(shape))
        require(fits, f'TensorRT refuses images of {_text(shape)}: {_logger.error}')

    def forward(self, images: Tensor) -> HeadOutputs:
        context, images = self._context, images.contiguous()
        semantic, center, offset = heads = [
            torch.empty(_tuple(context.get_tensor_shape(name)), device=images.device)
            for name in OUTPUTS
        ]
        for name, buffer in zip((IMAGES, *OUTPUTS), (images, *heads), strict=True):
            context.set_tensor_address(name, buffer.data_ptr())
        done = context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
        require(done, f'TensorRT failed: {_logger.error}')
        return HeadOutputs(semantic, center, offset, STRIDE)


# TensorRT's buffers and dimensions are a buffer and a sequence, but its signatures do not say so.


def _bytes(memory: Any) -> bytes:
    return bytes(memory)


def _tuple(dims: Any) -> tuple[int, ...]:
    return tuple(dims)


def _text(shape: tuple[int, ...]) -> str:
    return '×'.join(map(str, shape))
