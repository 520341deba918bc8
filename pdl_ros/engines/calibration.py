"""An ONNX network in fewer bits: fp16, and int8 with ranges measured on images.

Both write the precision into the file itself, which OpenVINO, ONNX Runtime and every TensorRT
since 10 obey.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch import Tensor

from pdl_ros.engines.observation import Observer, find_ranges
from pdl_ros.errors import require, require_package

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

FLOAT_DEPTH = 3
"""Convolutions before each output that int8 leaves alone in TensorRT: those of the heads."""
_QDQ_OPSET = 19
"""The first in which QuantizeLinear takes fp16."""
_TRAFFIC = 32
"""Multiply-adds that take as long as moving one value of an activation, roughly."""


@dataclass(frozen=True)
class Target:
    """What kernels int8 is written for.

    unsigned: activations are 0 to 255 around a zero point, else -127 to 127 around 0. pairs: some
    kernels add two products in 16 bits (AVX2 without VNNI), so weights are scaled by so much that
    no pair overflows, and every processor gives the same heads. half: the rest is fp16.
    """

    unsigned: bool
    pairs: bool
    half: bool


CPU = Target(unsigned=True, pairs=True, half=False)
TENSORRT = Target(unsigned=False, pairs=False, half=True)


class Layer(NamedTuple):
    """A convolution that can be quantised.

    work: its multiply-adds for one image, and its input and output counted as some more. depthwise:
    it has one input channel a group. depth: how many convolutions at least are between it and an
    output.
    """

    name: str
    work: float
    depthwise: bool
    depth: int


def halve(model: bytes) -> bytes:
    """Return an ONNX network that computes in fp16; inputs and outputs stay float32."""
    require_package('onnxruntime', 'export')
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = OnnxModel(convert_float_to_float16(onnx.load_from_string(model), keep_io_types=True))
    half.topological_sort()  # the new casts stand last
    return half.model.SerializeToString()


def quantise(model: bytes, batches: Iterable[Tensor]) -> bytes:
    """Return an ONNX network for TensorRT whose convolutions run in int8 and the rest in fp16.

    batches: as in `Calibration`. The first convolution, depthwise ones (they wait for memory, not
    for arithmetic) and the heads stay fp16, without which the labels suffer.
    """
    calibration = Calibration(model, batches, TENSORRT)
    return calibration.quantised(
        [
            layer.name
            for layer in calibration.layers[1:]
            if not layer.depthwise and layer.depth >= FLOAT_DEPTH
        ]
    )


class Calibration:
    """What the convolutions of an ONNX network were seen to read on images, and int8 networks made
    of it.

    batches: normalised images (N, 3, H, W) float32 like those to come; a few dozen are enough. They
    are gone through one at a time.
    """

    def __init__(self, model: bytes, batches: Iterable[Tensor], target: Target) -> None:
        for package in ('onnx', 'onnxruntime'):
            require_package(package, 'export')
        import onnx
        from onnx import version_converter

        proto = onnx.load_from_string(model)
        if proto.opset_import[0].version < _QDQ_OPSET:
            proto = version_converter.convert_version(proto, _QDQ_OPSET)
        # Names of their own, by which quantisation knows them.
        for index, node in enumerate(proto.graph.node):
            node.name = f'{index}_{node.op_type}'
        self._proto, self._target = proto, target
        self._convolutions = {n.name: n for n in proto.graph.node if n.op_type == 'Conv'}
        self._weights = {
            i.name: onnx.numpy_helper.to_array(i) for i in proto.graph.initializer if i.dims
        }
        observed = Observer(proto, list(self._convolutions.values()))
        self._ranges = find_ranges(proto, observed.watched(batches), not target.unsigned)
        require(observed.images > 0, 'There are no images to calibrate int8 with.')
        self._means = observed.means()
        depths = _depths(proto)
        self.layers = [
            Layer(
                name,
                self._work(node, observed.shapes[name]),
                self._weights[node.input[1]].shape[1] == 1 and _groups(node) > 1,
                depths[name],
            )
            for name, node in self._convolutions.items()
        ]
        """In the order in which they run."""

    def quantised(self, layers: Collection[str]) -> bytes:
        """Return the network with these layers, by name, in int8, and the others as they were.

        A layer's input and weights are quantised. Its bias takes up what the rounding of the
        weights moves its mean by (Nagel et al., 2019, section 4.2).
        """
        import onnx
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.transformers.onnx_model import OnnxModel

        proto = onnx.ModelProto()
        proto.CopyFrom(self._proto)
        scales = {
            node.input[1]: self._scales(self._weights[node.input[1]])
            for name, node in self._convolutions.items()
            if name in layers
        }
        quantizer = QDQQuantizer(
            proto,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8 if self._target.unsigned else QuantType.QInt8,
            tensors_range=self._ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=[name for name in self._convolutions if name not in layers],
            op_types_to_quantize=['Conv'],
            # Biases and what convolutions give are not quantised, so that a runtime can put the
            # activation into the convolution.
            extra_options={
                'ActivationSymmetric': not self._target.unsigned,
                'WeightSymmetric': True,
                'QuantizeBias': False,
                'QDQDisableWeightAdjustForInt32Bias': True,
                'OpTypesToExcludeOutputQuantization': ['Conv'],
                'TensorQuantOverrides': {name: _override(s) for name, s in scales.items()},
            },
        )
        quantizer.quantize_model()
        made = quantizer.model.model
        self._correct_biases(made, layers, scales)
        _read_unrounded(made)
        OnnxModel(made).topological_sort()  # the quantiser's nodes stand last
        model = made.SerializeToString()
        return halve(model) if self._target.half else model

    def _scales(self, weights: np.ndarray) -> np.ndarray:
        """Return the scale of each output channel of (C', C, kh, kw) weights: (C',) float32."""
        channels = np.abs(weights).reshape(len(weights), -1)
        largest = channels.max(1) / 127
        if self._target.pairs and weights.shape[1] > 1:
            # 255 times a pair of up to 128 fits; rounding adds up to 1.
            largest = np.maximum(largest, _pair_sums(weights) / 127)
        return np.where(largest > 0, largest, 1).astype(np.float32)

    def _correct_biases(
        self, made: ModelProto, layers: Collection[str], scales: dict[str, np.ndarray]
    ) -> None:
        import onnx

        values = {i.name: i for i in made.graph.initializer}
        for name, node in self._convolutions.items():
            if name not in layers or len(node.input) < 3:
                continue
            weights = self._weights[node.input[1]]
            steps = scales[node.input[1]].reshape(-1, 1, 1, 1)
            lost = (weights - np.clip(np.round(weights / steps), -127, 127) * steps).sum((2, 3))
            means = self._means[name].reshape(_groups(node), -1)
            per_group = lost.reshape(len(means), -1, lost.shape[1])
            moved = np.einsum('goc,gc->go', per_group, means).ravel()
            bias = values[node.input[2]]
            corrected = (onnx.numpy_helper.to_array(bias) + moved).astype(np.float32)
            bias.CopyFrom(onnx.numpy_helper.from_array(corrected, bias.name))

    def _work(self, node: NodeProto, shapes: tuple[np.ndarray, np.ndarray]) -> float:
        read, given = (shape.astype(float) for shape in shapes)
        products = float(np.prod(self._weights[node.input[1]].shape[1:]))
        return (given.prod() * (products + _TRAFFIC) + read.prod() * _TRAFFIC) / given[0]


def _pair_sums(weights: np.ndarray) -> np.ndarray:
    """Return the largest sum of two weights of one sign that a kernel multiplies and adds at once,
    for each output channel.

    Kernels take neighbours of the input channels, of which they fill up an odd number, as that of
    an image, or of the kernel's window where they unroll it.
    """
    largest = np.zeros(len(weights), weights.dtype)
    filled = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2), (0, 0), (0, 0)))
    for layout in (weights, weights.transpose(0, 2, 3, 1), filled.transpose(0, 2, 3, 1)):
        row = layout.reshape(len(weights), -1)
        flat = np.pad(row, ((0, 0), (0, row.shape[1] % 2)))
        for sign in (1, -1):
            one, other = np.maximum(sign * flat[:, ::2], 0), np.maximum(sign * flat[:, 1::2], 0)
            largest = np.maximum(largest, (one + other).max(1))
    return largest


def _override(scales: np.ndarray) -> list[dict[str, Any]]:
    """Return scales of output channels as ONNX Runtime's quantiser takes them."""
    from onnxruntime.quantization import QuantType

    zero = np.int8(0)
    channels: list[dict[str, Any]] = [
        {'quant_type': QuantType.QInt8, 'scale': scale, 'zero_point': zero} for scale in scales
    ]
    channels[0]['axis'] = 0
    return channels


def _read_unrounded(model: ModelProto) -> None:
    """Let whatever is no convolution read what was there before it was rounded.

    Shortcuts and the image pooling keep their digits; OpenVINO would also average in 8 bits.
    """
    nodes = model.graph.node
    sources = {n.output[0]: n.input[0] for n in nodes if n.op_type == 'QuantizeLinear'}
    rounded = {
        n.output[0]: sources[n.input[0]]
        for n in nodes
        if n.op_type == 'DequantizeLinear' and n.input[0] in sources
    }
    for node in nodes:
        if node.op_type != 'Conv':
            for index, name in enumerate(node.input):
                node.input[index] = rounded.get(name, name)


def _depths(model: ModelProto) -> dict[str, int]:
    """Return how many convolutions at least are between each convolution and an output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    depths: dict[str, int] = {}
    seen: dict[str, int] = {}
    ahead = [(output.name, 0) for output in model.graph.output]
    while ahead:
        name, depth = ahead.pop()
        node = makers.get(name)
        if node is None or seen.get(name, depth + 1) <= depth:
            continue
        seen[name] = depth
        if node.op_type == 'Conv':
            depths[node.name] = min(depth, depths.get(node.name, depth))
            depth += 1
        ahead += [(source, depth) for source in node.input]
    return depths


def _groups(node: NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == 'group'), 1)
