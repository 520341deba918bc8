"""HeadOutputs -> PanopticResult: the post-processing of Panoptic-DeepLab (paper, section 3.3 and
3.5).
"""

from pdl_ros.fusion.fuse import fuse, fuse_batch, fuse_reference
from pdl_ros.fusion.result import PanopticResult, SegmentTable
from pdl_ros.fusion.settings import FusionSettings

__all__ = [
    'FusionSettings',
    'PanopticResult',
    'SegmentTable',
    'fuse',
    'fuse_batch',
    'fuse_reference',
]
