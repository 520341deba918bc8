"""HeadOutputs -> PanopticResult: the post-processing of Panoptic-DeepLab (paper, section 3.3 and
3.5).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdl_ros.fusion.entry import fuse, fuse_batch, fuse_reference
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
_MODULES = {'FusionSettings': 'settings', 'PanopticResult': 'result', 'SegmentTable': 'result'}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who compiles the kernels of this room needs no PyTorch."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES.get(name, "entry")}'), name)
