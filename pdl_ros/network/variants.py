"""The variants: every combination of encoder, conventions and label set that has a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet
from pdl_ros.network.settings import DecoderSettings, Rgb, Variant

_CITYSCAPES, _COCO, _MAPILLARY = (
    LabelSet.load(name) for name in ('cityscapes', 'coco', 'mapillary')
)
_IMAGENET: tuple[Rgb, Rgb] = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def _scores(pq: float, ap: float | None = None, miou: float | None = None) -> Mapping[str, float]:
    found = {'pq': pq, 'ap': ap, 'miou': miou}
    return MappingProxyType({name: value for name, value in found.items() if value is not None})


# --- ours: shipped, or to be trained on one's own classes ----------------------------------------


def _own_fusion(**thresholds: float) -> Mapping[str, float | int | str]:
    # A frame without centres keeps its things; published weights keep the published rule.
    return MappingProxyType({**thresholds, 'without_center': 'components'})


# What the others are made of. Small things that are hardly believed are mostly slivers; large ones
# are half seen.
_LITE0 = Variant(
    'camvid_efficientnet_lite0',
    'efficientnet_lite0',
    LabelSet.load('camvid'),
    (127.0,) * 3,
    (128.0,) * 3,
    short_edge=360,
    long_edge=640,
    decoder=DecoderSettings(align_corners=False, low_level_first=True),
    fusion=_own_fusion(
        center_threshold=0.2,
        nms_kernel=15,
        stuff_area=128,
        score_threshold=0.25,
        doubtful_area=2000,
    ),
)
# CamVid's pictures have 360 lines; enlarged to 480, thin and far things are found that are lost
# otherwise. What the fusion counts in pixels is about as much larger.
_CAMVID = replace(
    _LITE0,
    short_edge=480,
    long_edge=854,
    fusion=_own_fusion(
        center_threshold=0.15,
        nms_kernel=21,
        stuff_area=225,
        score_threshold=0.25,
        doubtful_area=3600,
    ),
)
# A third of the multiply-adds a pixel, for processors without AVX-512: stride 32 with the third
# low-level feature that the authors' release has at that stride, and narrow decoders, which 11
# classes do not fill. What was measured of it is in docs/benchmarks.md.
_SMALL = replace(
    _LITE0,
    name='camvid_efficientnet_lite0_small',
    output_stride=32,
    decoder=replace(
        _LITE0.decoder,
        low_level=('res4', 'res3', 'res2'),
        low_level_semantic=(64, 32, 16),
        low_level_instance=(32, 16, 8),
        semantic_channels=96,
        instance_channels=64,
        aspp_channels=96,
        aspp_rates=(3, 6, 9),
    ),
)
# Meant for 25 frames a second on two cores with AVX2, not yet measured through the node: 0.8 of the
# pixels in each direction, and narrower still.
_TINY = replace(
    _SMALL,
    name='camvid_efficientnet_lite0_tiny',
    short_edge=288,
    long_edge=512,
    decoder=replace(_SMALL.decoder, semantic_channels=64, aspp_channels=64),
    fusion=_own_fusion(nms_kernel=11, stuff_area=82),
)
# Classes of streets anywhere, and things that are told apart: docs/model_card.md.
_STREET = tuple(
    replace(
        v,
        name=v.name.replace('camvid', 'street'),
        label_set=LabelSet.load('street'),
        fusion=MappingProxyType({**v.fusion, 'outvoted_area': 2000}),
    )
    for v in (_LITE0, _SMALL)
)
_OURS = (
    *_STREET,
    replace(_CAMVID, published=_scores(65.5, miou=74.0)),
    replace(_CAMVID, name='camvid_efficientnet_lite1', backbone='efficientnet_lite1'),
    replace(_CAMVID, name='camvid_efficientnet_lite2', backbone='efficientnet_lite2'),
    replace(_SMALL, published=_scores(60.8, miou=67.6)),
    _TINY,
    # Small pictures of simple things: a decoder that trains in a minute or two on a CPU.
    replace(
        _LITE0,
        name='scene_tiny',
        label_set=LabelSet.load('scene'),
        short_edge=160,
        long_edge=320,
        output_stride=32,
        decoder=DecoderSettings(
            low_level=('res4', 'res3', 'res2'),
            low_level_semantic=(64, 32, 16),
            low_level_instance=(64, 32, 16),
            low_level_first=True,
            semantic_channels=64,
            instance_channels=64,
            aspp_channels=64,
            aspp_rates=(1, 2, 3),
            dropout=0.0,
            align_corners=False,
        ),
        fusion=_own_fusion(nms_kernel=7, stuff_area=16),
        published=_scores(84.2, miou=89.5),
    ),
)

# --- detectron2 (projects/Panoptic-DeepLab), and the authors' encoders in it (tools_d2) -----------

_ZOO = 'https://dl.fbaipublicfiles.com/detectron2/PanopticDeepLab/'
_DRIVE = 'https://drive.google.com/file/d/'
_D2_DECODER = DecoderSettings(
    low_level_instance=(64, 32),
    low_level_first=True,
    depthwise=False,
    center_depthwise=False,
    aspp_depthwise=False,
    pool_bias=True,
    pool_window=(32, 64),
    align_corners=False,
)


def _dsconv(decoder: DecoderSettings) -> DecoderSettings:
    return replace(decoder, depthwise=True, aspp_depthwise=True)


def _on_coco(variant: Variant) -> Variant:
    return replace(
        variant,
        label_set=_COCO,
        short_edge=640,
        long_edge=640,
        fusion=MappingProxyType({**variant.fusion, 'nms_kernel': 41, 'stuff_area': 4096}),
    )


_D2_HRNET_DECODER = replace(
    _D2_DECODER,
    low_level=('res4', 'res3', 'res2'),
    low_level_semantic=(128, 64, 32),
    low_level_instance=(128, 64, 32),
    aspp_rates=(3, 6, 9),
    pool_window=(16, 32),
)
_PYTORCH_FUSION: Mapping[str, float | int | str] = MappingProxyType(
    {'nms_kernel': 7, 'stuff_area': 2048, 'objectness': 'mask_centroid'}
)
_R52 = Variant(
    'cityscapes_r52',
    'resnet52',
    _CITYSCAPES,
    *_IMAGENET,
    short_edge=1024,
    long_edge=2048,
    multi_grid=(1, 2, 4),
    size_divisor=1,
    decoder=_D2_DECODER,
    fusion=_PYTORCH_FUSION,
    release='detectron2',
    published=_scores(60.3, 33.2, 78.2),
    download=_ZOO + 'Cityscapes-PanopticSegmentation/panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32'
    '/model_final_bd324a.pkl',
)
_R52_DSCONV = replace(
    _R52,
    name='cityscapes_r52_dsconv',
    decoder=_dsconv(_D2_DECODER),
    published=_scores(60.3, 32.1, 78.7),
    download=_ZOO + 'Cityscapes-PanopticSegmentation/panoptic_deeplab_R_52_os16_mg124_poly_90k_bs32'
    '_crop_512_1024_dsconv/model_final_23d03a.pkl',
)
_D2_XCEPTION = replace(
    _R52,
    name='cityscapes_xception65',
    backbone='xception65',
    mean=(128.0,) * 3,
    std=(128.0,) * 3,
    multi_grid=(),
    size_divisor=32,
    published=_scores(62.6, 32.8, 79.4),
    download=_DRIVE + '1F9Biuu9UmgfCyatP5yQTYN5V5_YyVGA2',
)
_D2_HRNET = replace(
    _R52,
    name='cityscapes_hrnet_w48',
    backbone='hrnet_w48',
    output_stride=32,
    multi_grid=(),
    size_divisor=32,
    decoder=_D2_HRNET_DECODER,
    published=_scores(63.3, 35.9, 80.3),
    download=_DRIVE + '1jQp844gR9NvAXmSXNuRgiY516LsRbTSN',
)
_DETECTRON2 = (
    _R52,
    _R52_DSCONV,
    replace(
        _on_coco(_R52_DSCONV),
        name='coco_r52_dsconv',
        size_divisor=640,
        decoder=replace(_R52_DSCONV.decoder, pool_window=(40, 40)),
        published=_scores(35.5, 19.7),
        download=_ZOO + 'COCO-PanopticSegmentation/panoptic_deeplab_R_52_os16_mg124_poly_200k_bs64'
        '_crop_640_640_coco_dsconv/model_final_5e6da2.pkl',
    ),
    _D2_XCEPTION,
    replace(
        _D2_XCEPTION,
        name='cityscapes_xception65_dsconv',
        decoder=_dsconv(_D2_DECODER),
        published=_scores(61.4, 32.6, 79.8),
        download=_DRIVE + '1ZR3YxFEdwF498NWq9ENFCEsTIiOjvMbp',
    ),
    _D2_HRNET,
    replace(
        _D2_HRNET,
        name='cityscapes_hrnet_w48_dsconv',
        decoder=_dsconv(_D2_HRNET_DECODER),
        published=_scores(63.4, 36.2, 80.6),
        download=_DRIVE + '1t1WB5GUtiwaL0UHngthX7_kWt0rBRNcO',
    ),
    replace(
        _on_coco(_D2_HRNET),
        name='coco_hrnet_w48_dsconv',
        size_divisor=640,
        decoder=_dsconv(replace(_D2_HRNET_DECODER, pool_window=(20, 20))),
        published=MappingProxyType({}),
        download='',
    ),
)

# --- the authors' PyTorch release (bowenc0221/panoptic-deeplab) -----------------------------------

_AUTHORS_R50 = Variant(
    'cityscapes_resnet50_os32',
    'resnet50',
    _CITYSCAPES,
    *_IMAGENET,
    short_edge=1024,
    long_edge=2048,
    output_stride=32,
    pad_color=(123.0, 116.0, 103.0),
    decoder=DecoderSettings(
        low_level=('res4', 'res3', 'res2'),
        low_level_semantic=(128, 64, 32),
        low_level_instance=(64, 32, 16),
        aspp_rates=(3, 6, 9),
        aspp_depthwise=False,
        pool_window=(33, 65),
        dropout=0.5,
    ),
    fusion=_PYTORCH_FUSION,
    release='authors',
    # Of the two APs that are published the one of semantic × instance scores.
    published=_scores(59.8, 28.3, 78.6),
    download=_DRIVE + '1IhZXtLpVkzhH4S2k27zARM8kUI7G6Hfn',
)


def _authors(name: str, backbone: str, scores: Mapping[str, float], download: str) -> Variant:
    return replace(_AUTHORS_R50, name=name, backbone=backbone, published=scores, download=download)


_AUTHORS = (
    _AUTHORS_R50,
    _authors(
        'cityscapes_resnet101_os32',
        'resnet101',
        _scores(60.3, 30.2, 78.4),
        _DRIVE + '1I26-bTW55crVLqCFB4lhKdIzz8y3X8qR',
    ),
    _authors(
        'cityscapes_resnext101_os32',
        'resnext101_32x8d',
        _scores(61.4, 30.3, 79.6),
        _DRIVE + '10u5w8dbHysSI1HMbfLLuCMV8kpyeDMcO',
    ),
    replace(
        _authors(
            'cityscapes_xception65_os32',
            'xception65',
            _scores(61.8, 31.7, 79.6),
            _DRIVE + '1TjN5gUyzA8Q2HqnP6jBu62GRTyAntQeQ',
        ),
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
        pad_color=(127.0,) * 3,
    ),
    _authors(
        'cityscapes_mobilenet_v2_os32',
        'mobilenet_v2',
        _scores(55.1, 23.3, 75.8),
        _DRIVE + '1E5wsJuYIjKRt1YQm_lV-bDdyL_1UCaDR',
    ),
    _authors(
        'cityscapes_hrnet_w48_os4',
        'hrnet_w48',
        _scores(63.4, 29.6, 80.9),
        'https://drive.google.com/drive/folders/1bJLyZkKsharpGykxjR7hmb6yzp8nmxMj',
    ),
)

# --- the paper's own and its TensorFlow successor's (deeplab2): no weights for PyTorch ------------

# Normalisation is that of the PyTorch releases of the encoders, which a training starts from.
_PAPER_R50 = Variant(
    'cityscapes_resnet50',
    'resnet52',
    _CITYSCAPES,
    *_IMAGENET,
    short_edge=1024,
    long_edge=2048,
    fusion=MappingProxyType({'nms_kernel': 7, 'stuff_area': 2048}),
    release='paper',
    published=_scores(59.7),
)
# Xception's ImageNet weights are TensorFlow's, with its input range and epsilon.
_PAPER_X71 = replace(
    _PAPER_R50,
    name='cityscapes_xception71',
    backbone='xception71',
    mean=(127.5,) * 3,
    std=(127.5,) * 3,
    encoder_norm_eps=1e-3,
    published=_scores(63.0, 35.3, 80.5),
)
_PAPER_V3 = replace(
    _PAPER_R50,
    name='cityscapes_mobilenet_v3',
    backbone='mobilenet_v3_large_seg',
    published=_scores(55.4),
)
_DEEPLAB2_V3 = replace(
    _PAPER_V3,
    name='cityscapes_mobilenet_v3_large',
    backbone='mobilenet_v3_large',
    decoder=DecoderSettings(aspp_depthwise=False),
    published=_scores(55.3, 24.1, 74.5),
)


def _on_mapillary(variant: Variant) -> Variant:
    return replace(variant, label_set=_MAPILLARY, short_edge=2176, long_edge=2176)


_PAPER = (
    _PAPER_V3,
    _PAPER_R50,
    _PAPER_X71,
    replace(_on_mapillary(_PAPER_V3), name='mapillary_mobilenet_v3', published=_scores(28.8)),
    replace(_on_mapillary(_PAPER_R50), name='mapillary_resnet50', published=_scores(33.3)),
    replace(_on_mapillary(_PAPER_X71), name='mapillary_xception71', published=_scores(37.7)),
    replace(_on_coco(_PAPER_V3), name='coco_mobilenet_v3', published=_scores(30.0)),
    replace(_on_coco(_PAPER_R50), name='coco_resnet50', published=_scores(35.1)),
    replace(_on_coco(_PAPER_X71), name='coco_xception71', published=_scores(38.9)),
    _DEEPLAB2_V3,
    replace(
        _DEEPLAB2_V3,
        name='cityscapes_mobilenet_v3_small',
        backbone='mobilenet_v3_small',
        published=_scores(48.4, 17.3, 69.5),
    ),
)

VARIANTS: dict[str, Variant] = {
    v.name: v for group in (_OURS, _DETECTRON2, _AUTHORS, _PAPER) for v in group
}


def get_variant(name: str) -> Variant:
    """Look a variant up by name."""
    if name not in VARIANTS:
        raise PdlError(f'No variant {name!r}; there are: {", ".join(VARIANTS)}.')
    return VARIANTS[name]
