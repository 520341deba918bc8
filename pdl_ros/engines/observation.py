"""What the convolutions of an ONNX network read on images: their means, and between what values."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from pdl_ros.engines.onnx_sessions import cpu_session

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

PERCENTILE = 99.99
"""Share of a tensor's values, in percent, that int8 represents; the others are clipped."""


class Observer:
    """Runs a network beside its calibration: the mean of what each convolution reads, a channel,
    and the shapes of what it reads and gives.
    """

    def __init__(self, model: ModelProto, convolutions: list[NodeProto]) -> None:
        import onnx
        from onnx import TensorProto, helper

        proto = onnx.ModelProto()
        proto.CopyFrom(model)
        graph, self._names = proto.graph, [node.name for node in convolutions]
        axes = onnx.numpy_helper.from_array(np.array([0, 2, 3]), 'observed axes')
        graph.initializer.append(axes)
        for node in convolutions:
            found = [f'{node.name} {what}' for what in ('mean', 'read', 'given')]
            graph.node.extend(
                (
                    helper.make_node(
                        'ReduceMean', [node.input[0], axes.name], found[:1], keepdims=0
                    ),
                    helper.make_node('Shape', node.input[:1], found[1:2]),
                    helper.make_node('Shape', node.output[:1], found[2:]),
                )
            )
            types = (TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64)
            graph.output.extend(
                helper.make_tensor_value_info(name, kind, None)
                for name, kind in zip(found, types, strict=True)
            )
        self._session = cpu_session(proto.SerializeToString())
        self._sums: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.images = 0

    def watched(self, batches: Iterable[Tensor]) -> Iterable[np.ndarray]:
        """Yield the batches as arrays, after a look at what they give."""
        for batch in batches:
            images = batch.cpu().contiguous().numpy()
            names = [f'{n} {what}' for n in self._names for what in ('mean', 'read', 'given')]
            found = iter(self._session.run(names, {'images': images}))
            for name, mean, read, given in zip(self._names, found, found, found, strict=True):
                self._sums[name] = self._sums.get(name, 0) + len(images) * mean
                self.shapes[name] = read, given
            self.images += len(images)
            yield images

    def means(self) -> dict[str, np.ndarray]:
        """Return the mean of each convolution's input, (C,)."""
        return {name: total / self.images for name, total in self._sums.items()}


def find_ranges(proto: ModelProto, batches: Iterable[np.ndarray], symmetric: bool) -> Any:
    """Return between what values the convolutions' inputs lie, in the quantiser's own form;
    None where there are no batches (N, 3, H, W) float32. symmetric: around 0.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    options = {'symmetric': symmetric, 'percentile': PERCENTILE}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),  # the calibrator prints
    ):
        path, work = Path(folder) / 'model.onnx', Path(folder) / 'work.onnx'
        onnx.save(proto, path)
        calibrator = create_calibrator(
            path, ['Conv'], str(work), CalibrationMethod.Percentile, extra_options=options
        )
        there = False
        for images in batches:
            calibrator.collect_data(_Batch(images))
            there = True
        return calibrator.compute_data() if there else None


class _Batch:
    """One batch as ONNX Runtime's calibrator reads it: once, then nothing."""

    def __init__(self, images: np.ndarray) -> None:
        self._left = [{'images': images}]

    def get_next(self) -> dict | None:
        return self._left.pop() if self._left else None
