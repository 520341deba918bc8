"""An ONNX network made ready in OpenVINO or ONNX Runtime."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdl_ros.engines.onnx_export import OUTPUTS
from pdl_ros.errors import in_words, require, require_package
from pdl_ros.network.panoptic_deeplab import STRIDE
from pdl_ros.runtime import cache
from pdl_ros.runtime.cpu_features import instruction_set, processor

Run = Callable[[Tensor], Sequence[Tensor]]
"""Contiguous normalised images -> the heads, in the order of `OUTPUTS`."""
Keep = Callable[[], None]
"""Keep in the cache what a runtime compiled, so that later starts need not."""

# What OpenVINO computes with where the file does not say int8.
_OPENVINO_TYPES = {'fp32': 'f32', 'bf16': 'bf16', 'int8': 'f32'}
_MOST_KEPT = 4  # networks of a variant and precision: other weights, threads, versions
_LOG = logging.getLogger('pdl_ros.engines')


def cpu_session(model: bytes | Path, optimised: bool = True) -> Any:
    """Return ONNX Runtime's InferenceSession of a model on the CPU; not `optimised`, it computes
    what is written, step by step.
    """
    return _session(model, ['CPUExecutionProvider'], optimised)


def _session(model: bytes | Path, providers: Sequence[Any], optimised: bool = True) -> Any:
    require_package('onnxruntime', 'export')
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # Windows builds have some
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # ONNX Runtime's threads would spin for a while after each frame, against the fusion's.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=providers
    )


def run_onnxruntime(model: bytes) -> Run:
    session = cpu_session(model)
    return lambda images: [
        torch.from_numpy(head) for head in session.run(list(OUTPUTS), {'images': images.numpy()})
    ]


def run_onnxruntime_cuda(model: bytes, device: torch.device, num_classes: int) -> Run:
    """Run on a stream of PyTorch's, from and into its tensors. Not yet run on a GPU."""
    require_package('onnxruntime', 'export')
    import onnxruntime

    provider = 'CUDAExecutionProvider'
    require(
        provider in onnxruntime.get_available_providers(),
        f'Engine onnx cannot use device {device}: this ONNX Runtime has no CUDA; install '
        'onnxruntime-gpu in the place of onnxruntime, or use engine torch or device cpu.',
    )
    index = device.index or 0
    # ONNX Runtime takes no default stream from outside.
    stream = torch.cuda.Stream(device)
    options = {'device_id': str(index), 'user_compute_stream': str(stream.cuda_stream)}
    session = _session(model, [(provider, options)])
    run_options = onnxruntime.RunOptions()
    run_options.add_run_config_entry('disable_synchronize_execution_providers', '1')
    channels = (num_classes, 1, 2)

    def run(images: Tensor) -> list[Tensor]:
        rows, columns = (-(-edge // STRIDE) for edge in images.shape[2:])
        heads = [images.new_empty(len(images), c, rows, columns) for c in channels]
        binding = session.io_binding()
        for bind, name, tensor in (
            (binding.bind_input, 'images', images),
            *((binding.bind_output, *pair) for pair in zip(OUTPUTS, heads, strict=True)),
        ):
            bind(name, 'cuda', index, np.float32, tuple(tensor.shape), tensor.data_ptr())
        current = torch.cuda.current_stream(device)
        stream.wait_stream(current)
        session.run_with_iobinding(binding, run_options)
        current.wait_stream(stream)
        return heads

    return run


def run_openvino(model: bytes, precision: str, name: str) -> tuple[Run, Keep | None]:
    """Run in OpenVINO; what is kept of it in the cache begins with `name`."""
    settings = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_PRECISION_HINT': _OPENVINO_TYPES[precision],
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        # Two engines that pin their threads to the same cores would wait for each other.
        'ENABLE_CPU_PINNING': False,
    }
    compiled, keep = _compiled(model, settings, name)
    request = compiled.create_infer_request()

    def run(images: Tensor) -> list[Tensor]:
        # Shared: OpenVINO reads PyTorch's memory, and its own holds the heads until the next call.
        heads = request.infer({'images': images.numpy()}, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(heads[name]) for name in OUTPUTS]

    return run, keep


def _compiled(model: bytes, settings: Mapping[str, Any], name: str) -> tuple[Any, Keep | None]:
    """Return OpenVINO's CompiledModel: as an earlier start kept it, in a seventh of the time, or
    compiled now. And what keeps it; None: it is kept, or cannot be.
    """
    import openvino

    core = openvino_core()
    facts = {
        'what': f'{name}-openvino',
        'model': hashlib.sha256(model).hexdigest(),
        'openvino': openvino.get_version(),
        'processor': processor(),
        'instructions': instruction_set('openvino'),
        'settings': repr(sorted(settings.items())),
    }
    kept = cache.load(facts)
    if kept:
        try:
            return core.import_model(kept, 'CPU', settings), None
        except RuntimeError as error:
            _LOG.warning('OpenVINO compiles %s anew: %s', name, in_words(error))
            kept = None
    # An empty second argument: the weights are in the model.
    compiled = core.compile_model(core.read_model(model, b''), 'CPU', settings)

    def keep() -> None:
        cache.replace(facts, _exported(core, compiled, settings), _MOST_KEPT)

    return compiled, keep if kept is None else None


def _exported(core: Any, compiled: Any, settings: Mapping[str, Any]) -> bytes:
    """Return what `import_model` takes; nothing where this OpenVINO cannot read it back, as those
    before 2025.2 cannot with int8. It compiles at each start then.
    """
    try:
        exported = compiled.export_model()
        content = exported if isinstance(exported, bytes) else bytes(exported.getvalue())
        core.import_model(content, 'CPU', settings)
    except RuntimeError:
        return b''
    return content


@functools.cache
def openvino_core() -> Any:
    """Return the one Core of this process, which stays.

    A Core's CPU plugin gives the thread that loads it a stack for signals, and frees that memory
    when the Core goes. Where it goes in another thread, the first still has the address, and the
    next Ctrl-C ends the process with a segmentation fault (seen with OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()
