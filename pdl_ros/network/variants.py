"""Named variants: which encoder, which conventions, which classes and how an image is prepared.
Data only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network.settings import DecoderSettings


@dataclass(frozen=True)
class Variant:
    """One model as its users know it by name.

    mean, std: per RGB channel on the 0..255 scale. short_edge, long_edge: an image is scaled so
    that its short edge is `short_edge`, unless its long edge would then exceed `long_edge`.
    size_divisor: the network input is padded (bottom, right) to a multiple of it. fusion:
    thresholds of `fusion.FusionSettings`, in pixels of the network input.
    """

    name: str
    backbone: str
    label_set: LabelSet
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    short_edge: int
    long_edge: int
    output_stride: int = 16
    multi_grid: tuple[int, ...] = ()
    size_divisor: int = 32
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    fusion: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


_IMAGENET_MEAN, _IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_CITYSCAPES_FUSION = MappingProxyType({'nms_kernel': 7, 'stuff_area': 2048})

_EFFICIENTNET_DECODER = DecoderSettings(
    aspp_depthwise=True, align_corners=False, low_level_first=True
)

_DETECTRON2_DSCONV = DecoderSettings(
    low_level_instance=(64, 32),
    low_level_first=True,
    center_depthwise=False,
    aspp_depthwise=True,
    pool_bias=True,
    pool_window=(32, 64),
    align_corners=False,
)

_AUTHORS_OS32 = DecoderSettings(
    low_level=('res4', 'res3', 'res2'),
    low_level_semantic=(128, 64, 32),
    low_level_instance=(64, 32, 16),
    aspp_rates=(3, 6, 9),
    dropout=0.5,
    align_corners=True,
)

# Small pictures of simple things: a decoder that trains in a minute or two on a CPU.
_SCENE_DECODER = DecoderSettings(
    low_level=('res4', 'res3', 'res2'),
    low_level_semantic=(64, 32, 16),
    low_level_instance=(64, 32, 16),
    low_level_first=True,
    semantic_channels=64,
    instance_channels=64,
    aspp_channels=64,
    aspp_rates=(1, 2, 3),
    aspp_depthwise=True,
    dropout=0.0,
    align_corners=False,
)

VARIANTS: dict[str, Variant] = {
    v.name: v
    for v in (
        Variant(
            'camvid_efficientnet_lite0',
            'efficientnet_lite0',
            LabelSet.load('camvid'),
            (127.0,) * 3,
            (128.0,) * 3,
            short_edge=360,
            long_edge=640,
            decoder=_EFFICIENTNET_DECODER,
            fusion=MappingProxyType({'nms_kernel': 7, 'stuff_area': 128}),
        ),
        Variant(
            'scene_tiny',
            'efficientnet_lite0',
            LabelSet.load('scene'),
            (127.0,) * 3,
            (128.0,) * 3,
            short_edge=160,
            long_edge=320,
            output_stride=32,
            decoder=_SCENE_DECODER,
            fusion=MappingProxyType({'nms_kernel': 7, 'stuff_area': 16}),
        ),
        Variant(
            'cityscapes_resnet50',
            'resnet50',
            LabelSet.load('cityscapes'),
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            short_edge=1025,
            long_edge=2049,
            output_stride=32,
            decoder=_AUTHORS_OS32,
            fusion=_CITYSCAPES_FUSION,
        ),
        Variant(
            'cityscapes_r52_dsconv',
            'resnet52',
            LabelSet.load('cityscapes'),
            _IMAGENET_MEAN,
            _IMAGENET_STD,
            short_edge=1024,
            long_edge=2048,
            multi_grid=(1, 2, 4),
            size_divisor=1,
            decoder=_DETECTRON2_DSCONV,
            fusion=_CITYSCAPES_FUSION,
        ),
    )
}


def get_variant(name: str) -> Variant:
    """Look a variant up by name."""
    if name not in VARIANTS:
        raise PdlError(f'No variant {name!r}; there are: {", ".join(VARIANTS)}.')
    return VARIANTS[name]
