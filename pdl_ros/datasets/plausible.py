"""Whether numbers without names can be those of a label set."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pdl_ros.datasets.source import Source
from pdl_ros.errors import PdlError
from pdl_ros.labels import LabelSet

_LOOKED_AT = 16


def require_plausible(source: Source, label_set: LabelSet) -> None:
    """Raise PdlError where data that are numbers only cannot be of this label set: where they tell
    apart the things of a class that is stuff in it.

    So the pictures of another set are not trained as sky, building and pole. A few of the images
    are looked at; those that cannot be read are left to whoever reads them.
    """
    if source.classes or label_set.sources.maps_numbers:
        return
    count = len(source.names)
    things = set(label_set.thing_ids)
    for index in np.unique(np.linspace(0, count - 1, min(count, _LOOKED_AT)).astype(int)).tolist():
        numbers = defaultdict[int, int](int)
        try:
            for segment in source.read(index, (0, 0)).segments:
                numbers[segment.class_id] += 1
        except PdlError:
            continue
        for class_id, found in numbers.items():
            if class_id < label_set.num_classes and class_id not in things and found > 1:
                raise PdlError(
                    f'{source.label_file(index)} tells {found} things of class {class_id} apart, '
                    f'which is stuff in label set {label_set.name!r} '
                    f'({label_set.classes[class_id].name}); give the label set of these data, or '
                    f'keep it as labels.yaml in {source.where}.'
                )
