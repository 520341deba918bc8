"""Run the network, exported as ONNX, with OpenVINO or ONNX Runtime."""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor

from pdl_ros.engines.exported import fp32_model
from pdl_ros.engines.onnx_sessions import (
    Keep,
    run_onnxruntime,
    run_onnxruntime_cuda,
    run_openvino,
)
from pdl_ros.errors import PdlError, in_words, require, require_package
from pdl_ros.network.heads import HeadOutputs
from pdl_ros.network.panoptic_deeplab import STRIDE, PanopticDeepLab
from pdl_ros.network.variants import Variant
from pdl_ros.runtime.cpu_features import has_bf16

_TRIAL_EDGE = 64  # pixels


class OnnxEngine:
    """An `Engine` (which see) of OpenVINO or ONNX Runtime.

    runtime: openvino, onnxruntime, or None: OpenVINO on a CPU where it is installed, else ONNX
    Runtime. On a CPU OpenVINO is the faster one, and alone has bf16 (docs/engines.md). The runtime
    takes as many threads as PyTorch has when the engine is made. quantised: the ONNX file of this
    network in int8 (`read_quantised`), which precision int8 runs; without it there is none.
    """

    def __init__(
        self,
        network: PanopticDeepLab,
        variant: Variant,
        device: torch.device,
        precision: str = 'auto',
        runtime: str | None = None,
        quantised: bytes | None = None,
    ) -> None:
        self.device, self.name = device, runtime or installed_runtime(device)
        openvino = self.name == 'openvino'
        if openvino:
            require_package('openvino', 'openvino')
            require(
                device.type == 'cpu',
                f'Engine openvino runs on the CPU, and the device is {device}; use engine torch or '
                'tensorrt, or device cpu.',
            )
        self._keep: Keep | None = None
        choices: tuple[str, ...] = _openvino_precisions() if openvino else ('fp32',)
        if quantised is not None and device.type == 'cpu':
            choices += ('int8',)
        self.precision = choices[0] if precision == 'auto' else precision
        if self.precision == 'int8':
            require_package('onnx', 'export')
        require(
            self.precision != 'int8' or 'int8' in choices or device.type != 'cpu',
            f'These weights of {variant.name} have no usable int8 file beside them; use precision '
            f'{" or ".join(choices)}, or make it: pdl_ros export openvino WEIGHTS --precision int8 '
            '--calibrate FRAMES.',
        )
        require(
            self.precision in choices,
            f'Engine {self.name} has no precision {precision!r} on this {device.type}; '
            f'use {" or ".join(choices)}, or another engine.',
        )
        model = quantised if self.precision == 'int8' else None
        if model is None:
            model = fp32_model(network, variant)
        try:
            if openvino:
                name = f'{variant.name}-{self.precision}'
                self._run, self._keep = run_openvino(model, self.precision, name)
            elif device.type == 'cpu':
                self._run = run_onnxruntime(model)
            else:
                self._run = run_onnxruntime_cuda(model, device, variant.label_set.num_classes)
            if device.type == 'cpu':  # what a processor lacks shows at the first call only
                self(torch.zeros(1, 3, _TRIAL_EDGE, _TRIAL_EDGE))
        except PdlError:
            raise
        except Exception as error:  # runtimes raise what they like
            raise PdlError(
                f'Engine {self.name} in {self.precision} does not run on this machine '
                f'({in_words(error)}); use engine torch.'
            ) from error

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> HeadOutputs:
        semantic, center_heatmap, offset = self._run(images.contiguous())
        return HeadOutputs(semantic, center_heatmap, offset, STRIDE)

    def keep_compiled(self) -> None:
        """Keep in the cache what OpenVINO compiled, for later starts."""
        keep, self._keep = self._keep, None
        if keep is not None:
            keep()

    def release(self) -> None:
        """Drop the runtime's session."""
        del self._run, self._keep


def installed_runtime(device: torch.device) -> str:
    """Return what engine onnx is on a device."""
    there = device.type == 'cpu' and find_spec('openvino') is not None
    return 'openvino' if there else 'onnxruntime'


def cpu_precisions(runtime: str) -> tuple[str, ...]:
    """Return what a runtime computes a network of fp32 weights in on this processor; empty where
    its packages are not.
    """
    if find_spec('onnx') is None or find_spec(runtime) is None:
        return ()
    return _openvino_precisions() if runtime == 'openvino' else ('fp32',)


def _openvino_precisions() -> tuple[str, ...]:
    """Return what OpenVINO computes in on this processor; the first gives the published labels.

    bf16 takes half the time, but moves 0.8 % of the demo network's panoptic pixels.
    """
    return ('fp32', 'bf16') if has_bf16() else ('fp32',)
