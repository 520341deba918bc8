"""The choices in which published Panoptic-DeepLabs differ, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

Rgb = tuple[float, float, float]
SHARED = ('none', 'aspp', 'decoder')


@dataclass(frozen=True)
class DecoderSettings:
    """Everything between the encoder's features and the head outputs.

    Low-level tuples run in order of execution, coarse to fine. The defaults are the paper's
    (section 3.2 and 4.1): two low-level features, one 5×5 depthwise-separable convolution a step,
    256 channels in the semantic and 128 in the instance branch.
    """

    low_level: tuple[str, ...] = ('res3', 'res2')
    low_level_semantic: tuple[int, ...] = (64, 32)
    low_level_instance: tuple[int, ...] = (32, 16)
    low_level_first: bool = False
    """Concatenate [low-level, upsampled] (detectron2) instead of [upsampled, low-level]."""
    semantic_channels: int = 256
    instance_channels: int = 128
    head_channels: int = 32
    depthwise: bool = True
    """5×5 depthwise-separable decoder and head convolutions; False: two regular 3×3."""
    center_depthwise: bool = True
    """The same for the centre head alone: detectron2 keeps regular convolutions there."""
    aspp_channels: int = 256
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    aspp_depthwise: bool = True
    pool_bias: bool = False
    pool_window: tuple[int, int] | None = None
    """Image-pooling window in features, as fixed by the training crop; None: the whole image."""
    dropout: float = 0.1
    align_corners: bool = True
    norm_eps: float = 1e-5
    shared: str = 'none'
    """What both branches have in common: none (the paper's choice), aspp, or decoder, which is the
    ASPP too and as wide as the semantic branch. The others are for comparison (paper, table 3)."""
    center_sigmoid: bool = False
    """The centre head ends in a sigmoid and is trained by cross entropy; False: linear, and by
    squared errors, as the paper has it and all published weights."""

    def __post_init__(self) -> None:
        if not len(self.low_level) == len(self.low_level_semantic) == len(self.low_level_instance):
            raise PdlError(
                f'Decoder settings name {len(self.low_level)} low-level features but '
                f'{len(self.low_level_semantic)} '
                f'semantic and {len(self.low_level_instance)} instance widths; the three must be '
                'equally long.'
            )
        if self.shared not in SHARED:
            raise PdlError(f'shared is {self.shared!r}; it can be {", ".join(SHARED)}.')


@dataclass(frozen=True)
class Variant:
    """One model as its users know it by name.

    mean, std: per RGB channel on the 0..255 scale. short_edge, long_edge: an image is scaled so
    that its short edge is `short_edge`, unless its long edge would then exceed `long_edge`.
    encoder_norm_eps: epsilon of the encoder's BatchNorms; None: that of its usual ImageNet release.
    size_divisor: the network input is padded (bottom, right) to a multiple of it, or to one pixel
    more under align_corners. pad_color: RGB of that padding; None: the mean, so zeros. fusion:
    thresholds of `fusion.FusionSettings`, in pixels of the network input. release: the code base
    whose parameter names the published weights have, see `names.RELEASES`; `paper` where none was
    published for PyTorch. download: where the user gets the weights. published: PQ, AP and mIoU
    (percent, validation split, single scale, no flip) as published for them.
    """

    name: str
    backbone: str
    label_set: LabelSet
    mean: Rgb
    std: Rgb
    short_edge: int
    long_edge: int
    output_stride: int = 16
    multi_grid: tuple[int, ...] = ()
    encoder_norm_eps: float | None = None
    size_divisor: int = 32
    pad_color: Rgb | None = None
    decoder: DecoderSettings = field(default_factory=DecoderSettings)
    fusion: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))
    release: str = 'pdl_ros'
    download: str = ''
    published: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
