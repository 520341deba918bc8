"""Panoptic-DeepLab (Cheng et al., CVPR 2020): one encoder, two branches, three heads."""

from __future__ import annotations

from torch import Tensor, nn

from pdl_ros.network.backbones import make_backbone
from pdl_ros.network.decoder import Decoder
from pdl_ros.network.heads import HeadOutputs, instance_head, semantic_head
from pdl_ros.network.variants import Variant

STRIDE = 4
"""Input pixels per head-output pixel."""
_LOGIT_OF_ONE_PERCENT = -4.6


class PanopticDeepLab(nn.Module):
    """Normalised images (N, 3, H, W) -> `HeadOutputs` at stride 4 (paper, figure 2).

    The semantic branch says what every pixel is; the instance branch, blind to classes, says where
    mass centres are and how far each pixel is from its own.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        settings = variant.decoder
        self.backbone = make_backbone(
            variant.backbone, variant.output_stride, variant.multi_grid, variant.encoder_norm_eps
        )
        widths = self.backbone.channels
        assert isinstance(widths, dict)
        self.shared = settings.shared
        self.semantic_decoder = Decoder(
            widths, settings.low_level_semantic, settings.semantic_channels, settings
        )
        if self.shared != 'decoder':
            self.instance_decoder = Decoder(
                widths, settings.low_level_instance, settings.instance_channels, settings,
                has_aspp=self.shared == 'none',
            )  # fmt: skip
        self.semantic_head = semantic_head(variant.label_set.num_classes, settings)
        self.center_sigmoid = settings.center_sigmoid
        # Centres are rare: with 0.5 everywhere the first steps would learn nothing else.
        bias = _LOGIT_OF_ONE_PERCENT if self.center_sigmoid else 0.0
        self.center_head = instance_head(1, settings.center_depthwise, settings, bias)
        self.offset_head = instance_head(2, settings.depthwise, settings)

    def forward(self, images: Tensor) -> HeadOutputs:
        features = self.backbone(images)
        shared = self.semantic_decoder.aspp(features['res5']) if self.shared == 'aspp' else None
        instance = semantic = self.semantic_decoder(features, shared)
        if self.shared != 'decoder':
            instance = self.instance_decoder(features, shared)
        center = self.center_head(instance)
        # The offset head works in pixels of its own grid, as all published weights do.
        return HeadOutputs(
            self.semantic_head(semantic),
            center.sigmoid() if self.center_sigmoid else center,
            self.offset_head(instance) * STRIDE,
            STRIDE,
        )
