"""An ONNX network in fewer bits: fp16, and int8 with ranges measured on images.

Both write the precision into the file itself, which every TensorRT since 10 obeys and ONNX Runtime
can check without a GPU.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from pdl_ros.errors import require

if TYPE_CHECKING:
    from onnx import ModelProto

PERCENTILE = 99.99
"""Share of a tensor's values, in percent, that int8 represents; the others are clipped."""
FLOAT_DEPTH = 3
"""Convolutions before each output that int8 leaves alone: those of the heads."""
_QDQ_OPSET = 19
"""The first in which QuantizeLinear takes fp16."""


def halve(model: bytes) -> bytes:
    """Return an ONNX network that computes in fp16; inputs and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = OnnxModel(convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True))
    half.topological_sort()  # the new casts stand last
    return half.model.SerializeToString()


def quantise(model: bytes, batches: Iterable[Tensor]) -> bytes:
    """Return an ONNX network whose convolutions run in int8 and the rest in fp16.

    batches: normalised images (N, 3, H, W) float32 like those to come; a few dozen are enough. They
    are gone through one at a time. The first convolution, depthwise ones (they wait for memory, not
    for arithmetic) and the heads stay fp16, without which the labels suffer.
    """
    import onnx
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import create_calibrator
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    proto = onnx.load_from_string(model)
    if proto.opset_import[0].version < _QDQ_OPSET:
        proto = version_converter.convert_version(proto, _QDQ_OPSET)
    _name_nodes(proto)
    options = {'symmetric': True, 'percentile': PERCENTILE}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),  # the calibrator prints
    ):
        path, work = Path(folder) / 'model.onnx', Path(folder) / 'work.onnx'
        onnx.save(proto, path)
        calibrator = create_calibrator(
            path, ['Conv'], str(work), CalibrationMethod.Percentile, extra_options=options
        )
        count = 0
        for images in batches:
            calibrator.collect_data(_Batch(images))
            count += 1
        require(count > 0, 'There are no images to calibrate int8 with.')
        ranges = calibrator.compute_data()
    quantizer = QDQQuantizer(
        proto,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=_kept_float(proto),
        op_types_to_quantize=['Conv'],
        # TensorRT's int8 is symmetric; its biases and what convolutions give are not quantised, so
        # that it can put the activation into the convolution.
        extra_options={
            'ActivationSymmetric': True,
            'WeightSymmetric': True,
            'QuantizeBias': False,
            'OpTypesToExcludeOutputQuantization': ['Conv'],
        },
    )
    quantizer.quantize_model()
    return halve(quantizer.model.model.SerializeToString())


class _Batch:
    """One batch as ONNX Runtime's calibrator reads it: once, then nothing."""

    def __init__(self, images: Tensor) -> None:
        self._left = [{'images': images.cpu().numpy()}]

    def get_next(self) -> dict | None:
        return self._left.pop() if self._left else None


def _name_nodes(model: ModelProto) -> None:
    """Give every node a name of its own, by which quantisation excludes them."""
    for index, node in enumerate(model.graph.node):
        node.name = f'{index}_{node.op_type}'


def _kept_float(model: ModelProto) -> list[str]:
    """Name the convolutions that stay in floating point."""
    convolutions = [node for node in model.graph.node if node.op_type == 'Conv']
    kept = {convolutions[0].name}
    kept |= {
        n.name for n in convolutions if any(a.name == 'group' and a.i > 1 for a in n.attribute)
    }
    makers = {name: node for node in model.graph.node for name in node.output}
    ahead = [(output.name, FLOAT_DEPTH) for output in model.graph.output]
    while ahead:
        name, depth = ahead.pop()
        node = makers.get(name)
        if node is None or depth == 0:
            continue
        if node.op_type == 'Conv':
            kept.add(node.name)
            depth -= 1
        ahead += [(source, depth) for source in node.input]
    return sorted(kept)
