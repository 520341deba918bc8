"""The choices in which published Panoptic-DeepLabs differ, as data of one decoder."""

from __future__ import annotations

from dataclasses import dataclass

from pdl_ros.errors import PdlError


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
    aspp_depthwise: bool = False
    pool_bias: bool = False
    pool_window: tuple[int, int] | None = None
    """Image-pooling window in features, as fixed by the training crop; None: the whole image."""
    dropout: float = 0.1
    align_corners: bool = True
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        if not len(self.low_level) == len(self.low_level_semantic) == len(self.low_level_instance):
            raise PdlError(
                f'Decoder settings name {len(self.low_level)} low-level features but '
                f'{len(self.low_level_semantic)} '
                f'semantic and {len(self.low_level_instance)} instance widths; the three must be '
                'equally long.'
            )
