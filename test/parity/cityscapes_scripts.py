"""Cityscapes' own scripts make what is read as Cityscapes.

Run by hand, as cityscapesscripts wants many packages that the tests do not: with it on PYTHONPATH,
``make test ARGS=test/parity/cityscapes_scripts.py``.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np

from pdl_ros.datasets.layouts import open_dataset

from ..unit import trees
from ..unit.trees import HEIGHT, WIDTH, expected, regions

_PACKAGE = 'cityscapesscripts'
Annotation = importlib.import_module(f'{_PACKAGE}.helpers.annotation').Annotation
_PREPARATION = f'{_PACKAGE}.preparation'
convert2panoptic = importlib.import_module(f'{_PREPARATION}.createPanopticImgs').convert2panoptic
createInstanceImage = importlib.import_module(  # noqa: N816 - its name there
    f'{_PREPARATION}.json2instanceImg'
).createInstanceImage


def test_cityscapes_made_by_its_own_scripts_is_the_same_from_instances_and_panoptic_json(tmp_path):
    name, place = 'ulm_000000_000019', Path('val', 'ulm')
    trees.picture(tmp_path / 'leftImg8bit' / place / f'{name}_leftImg8bit.png')
    truth = tmp_path / 'gtFine' / place
    boxes = [('road', (16, 48, 0, 64)), ('sky', (0, 16, 0, 64)), ('cargroup', trees.CROWD)]
    boxes += [*(('car', box) for box in trees.CARS), ('static', trees.VOID)]
    # Its drawing takes the last row and column of a polygon in.
    objects = [
        {'label': label, 'polygon': [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]}
        for label, (y0, y1, x0, x1) in boxes
    ]
    annotation = Annotation()
    told = {'imgHeight': HEIGHT, 'imgWidth': WIDTH, 'objects': objects}
    annotation.fromJsonText(json.dumps(told))
    image = createInstanceImage(annotation, 'ids')  # which Pillow 13 no longer saves as it is
    png = truth / f'{name}_gtFine_instanceIds.png'
    trees.save(png, np.asarray(image).astype(np.uint16))
    label_set = trees.label_set(ignore='rest')
    from_instances = regions(open_dataset(tmp_path, 'val', label_set)[0])
    assert from_instances == expected()
    for train_ids in (False, True):
        convert2panoptic(str(tmp_path / 'gtFine'), None, train_ids, ['val'])
    png.unlink()
    truth.rmdir()
    for suffix in ('', '_trainId'):
        assert regions(open_dataset(tmp_path, 'val', label_set)[0]) == expected()
        (tmp_path / 'gtFine' / f'cityscapes_panoptic_val{suffix}.json').unlink()
