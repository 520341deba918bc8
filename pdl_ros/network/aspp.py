"""Atrous spatial pyramid pooling (DeepLabv3, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdl_ros.network.layers import ConvNormAct, DepthwiseSeparable, resize
from pdl_ros.network.settings import DecoderSettings


class ASPP(nn.Module):
    """Look at the features at five scales: 1×1, three dilated 3×3, image pooling. (N, C, h, w) ->
    (N, C', h, w).
    """

    def __init__(self, c_in: int, settings: DecoderSettings) -> None:
        super().__init__()
        width, eps = settings.aspp_channels, settings.norm_eps
        self.settings = settings
        self.branches = nn.ModuleList([ConvNormAct(c_in, width, eps=eps)])
        for rate in settings.aspp_rates:
            self.branches.append(
                DepthwiseSeparable(c_in, width, 3, dilation=rate, eps=eps)
                if settings.aspp_depthwise
                else ConvNormAct(c_in, width, 3, dilation=rate, eps=eps)
            )
        # No norm here in the published PyTorch releases: batch statistics of one pixel an image are
        # worthless.
        self.pool = nn.Conv2d(c_in, width, 1, bias=settings.pool_bias)
        self.project = ConvNormAct((len(self.branches) + 1) * width, width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        pooled = F.relu(self.pool(self._image_pool(x)))
        outputs.append(resize(pooled, x.shape[-2:], self.settings.align_corners))
        y = self.project(torch.cat(outputs, 1))
        return F.dropout(y, self.settings.dropout, self.training)

    def _image_pool(self, x: Tensor) -> Tensor:
        # A network trained with a fixed pooling window expects that window at test time too, not
        # the whole image.
        if self.settings.pool_window is None or self.training:
            return F.adaptive_avg_pool2d(x, 1)
        window = [min(pair) for pair in zip(self.settings.pool_window, x.shape[-2:], strict=True)]
        return F.avg_pool2d(x, window, stride=1)
