"""Write a network as ONNX, for other runtimes than PyTorch."""

from __future__ import annotations

import copy
import io
import json
import warnings
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros import __version__
from pdl_ros.errors import require_package
from pdl_ros.network.aspp import ASPP
from pdl_ros.network.layers import SamePadConv2d
from pdl_ros.network.panoptic_deeplab import STRIDE, PanopticDeepLab
from pdl_ros.network.variants import Variant

OPSET = 17
OUTPUTS = ('semantic', 'center_heatmap', 'offset')
Size = tuple[int, int]


def export_onnx(
    network: PanopticDeepLab,
    variant: Variant,
    target: BinaryIO,
    size: Size | None = None,
    batch: int | None = None,
) -> None:
    """Write the network as ONNX: normalised `images` (N, 3, H, W) float32 -> `OUTPUTS`, as in
    `HeadOutputs`.

    `size` is (H, W) and `batch` N; None: any. One graph is exact at every size, its image pooling
    too. The metadata say what the network is: variant, label_set, mean, std, stride, size_divisor,
    align_corners (JSON), pdl_ros (version).
    """
    require_package('onnx', 'export')
    import onnx

    buffer = io.BytesIO()
    images = torch.zeros(batch or 2, 3, *(size or (64, 96)))
    with torch.no_grad(), warnings.catch_warnings():
        # Of tracing: every size that is traced as a constant is one (test_onnx_export.py).
        warnings.simplefilter('ignore')
        # The older exporter under its own name: the newer one took 25 to 300 s instead of 1 to 4,
        # and wrote pooling windows that are right at the example's size alone.
        torch.onnx.utils.export(
            _ExportForm(network),
            (images,),
            buffer,  # type: ignore[arg-type]
            input_names=['images'],
            output_names=list(OUTPUTS),
            opset_version=OPSET,
            dynamic_axes=_dynamic_axes(size, batch),
        )
    # What follows a serialised message is merged into it: no second pass over the weights.
    metadata = onnx.ModelProto()
    onnx.helper.set_model_props(metadata, _metadata(variant))
    target.write(buffer.getbuffer())
    target.write(metadata.SerializeToString())


class _ExportForm(nn.Module):
    """A copy of the network in words that ONNX has, for inputs of every size."""

    def __init__(self, network: PanopticDeepLab) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float().eval()
        for module in self.network.modules():
            for plain, exported in ((SamePadConv2d, _SamePadConv2d), (ASPP, _ASPP)):
                if type(module) is plain:
                    module.__class__ = exported

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.network(images)[:3]


class _SamePadConv2d(SamePadConv2d):
    """Leave the padding to the runtime: ONNX has TensorFlow's rule, for every size."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == (1, 1):  # then the rule is the usual one
            pads = [d * (k - 1) // 2 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return F.conv2d(x, self.weight, None, 1, pads, self.dilation, self.groups)
        return _StridedSame.apply(x, self.weight, self)


class _StridedSame(torch.autograd.Function):
    """`SamePadConv2d` as one ONNX node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, conv: SamePadConv2d) -> Tensor:
        return SamePadConv2d.forward(conv, x)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, conv: SamePadConv2d) -> Any:
        return g.op(
            'Conv',
            x,
            weight,
            auto_pad_s='SAME_UPPER',
            kernel_shape_i=conv.kernel_size,
            strides_i=conv.stride,
            dilations_i=conv.dilation,
            group_i=conv.groups,
        )


class _ASPP(ASPP):
    """Pool windows that end at the features' border without asking for their size.

    ONNX wants windows of a fixed size. Zeros fill features that are smaller than the window, and
    the mean is then taken over the part that is no filling. Rows first and columns then is the same
    mean for 1/20 of the additions.
    """

    def _image_pool(self, x: Tensor) -> Tensor:
        from torch.onnx.operators import shape_as_tensor  # the exporter: half a second to import

        window = self.settings.pool_window
        if window is None:
            return F.adaptive_avg_pool2d(x, 1)
        have, want = shape_as_tensor(x)[2:], torch.tensor(window)
        high, wide = (want - have).clamp(min=0)
        filled = F.pad(x, [0, wide, 0, high])
        rows = F.avg_pool2d(filled, (window[0], 1), stride=1)
        means = F.avg_pool2d(rows, (1, window[1]), stride=1)
        return means * (want.prod() / torch.minimum(have, want).prod())


def _dynamic_axes(size: Size | None, batch: int | None) -> dict[str, dict[int, str]]:
    first = {0: 'batch'} if batch is None else {}
    images = {2: 'height', 3: 'width'} if size is None else {}
    heads = {2: 'rows', 3: 'columns'} if size is None else {}
    return {'images': {**first, **images}, **{name: {**first, **heads} for name in OUTPUTS}}


def _metadata(variant: Variant) -> dict[str, str]:
    facts: dict[str, object] = {
        'variant': variant.name,
        'label_set': variant.label_set.to_dict(),
        'mean': variant.mean,
        'std': variant.std,
        'stride': STRIDE,
        'size_divisor': variant.size_divisor,
        'align_corners': variant.decoder.align_corners,
    }
    # A name is no JSON, so that it reads as it is.
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    return {'pdl_ros': __version__, **texts}
