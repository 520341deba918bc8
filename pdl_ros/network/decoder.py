"""The light decoder of one branch (paper, section 3.2): back to stride 4 by factors of two."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pdl_ros.network.aspp import ASPP
from pdl_ros.network.layers import ConvNormAct, fuse_block, resize
from pdl_ros.network.settings import DecoderSettings


class Decoder(nn.Module):
    """ASPP on the last stage, then per low-level feature: upsample, concatenate its projection,
    fuse.

    ``{'res2'..'res5'}`` -> (N, channels, H/4, W/4). The semantic and the instance branch each own
    one; one without an ASPP is given the features of another's.
    """

    def __init__(
        self,
        feature_channels: Mapping[str, int],
        low_level_channels: tuple[int, ...],
        channels: int,
        settings: DecoderSettings,
        has_aspp: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings
        eps = settings.norm_eps
        if has_aspp:
            self.aspp = ASPP(feature_channels['res5'], settings)
        self.project = nn.ModuleList()
        self.fuse = nn.ModuleList()
        width = settings.aspp_channels
        for name, low in zip(settings.low_level, low_level_channels, strict=True):
            self.project.append(ConvNormAct(feature_channels[name], low, eps=eps))
            self.fuse.append(fuse_block(width + low, channels, settings.depthwise, eps))
            width = channels

    def forward(self, features: Mapping[str, Tensor], context: Tensor | None = None) -> Tensor:
        y = self.aspp(features['res5']) if context is None else context
        for name, project, fuse in zip(
            self.settings.low_level, self.project, self.fuse, strict=True
        ):
            low = project(features[name])
            y = resize(y, low.shape[-2:], self.settings.align_corners)
            y = fuse(torch.cat([low, y] if self.settings.low_level_first else [y, low], 1))
        return y
