"""Label sets: which classes there are, how they are coloured, and how ids are written into label
images.
"""

from pdl_ros.labels.label_set import LabelClass, LabelSet
from pdl_ros.labels.sources import SourceClass

__all__ = ['LabelClass', 'LabelSet', 'SourceClass']
