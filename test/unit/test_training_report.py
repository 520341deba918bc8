"""A training's page holds all that it shows, and shows the worst first."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from pdl_ros.training.report import worst_pictures, write_report

from .drawn import SCENE, Drawn


class Guesser:
    """Segment every picture of the drawn streets as sky over road, without a car."""

    def __call__(self, image):
        class Result:
            semantic = torch.zeros(image.shape[:2], dtype=torch.uint8)
            panoptic = torch.zeros(image.shape[:2], dtype=torch.int32)

        Result.semantic[35:] = 4
        Result.panoptic[35:] = 4000
        return Result


class MoreAndMoreCars(Drawn):
    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample.panoptic[:5, : 30 * index] = 5002
        return sample._replace(name=f'<street {index}>')


def test_the_pictures_with_most_wrong_pixels_come_first():
    found = worst_pictures(Guesser(), MoreAndMoreCars(), count=2)
    assert [picture.name for picture in found] == ['<street 2>', '<street 1>']
    sample = MoreAndMoreCars()[2]
    wrong = np.isin(sample.panoptic, (5001, 5002)).mean()
    assert found[0].wrong == pytest.approx(wrong)
    assert found[0].labels.shape == found[0].prediction.shape == (336, 480, 3)


def test_the_page_needs_no_other_file_and_believes_no_name(tmp_path):
    pytest.importorskip('matplotlib')
    (tmp_path / 'log.csv').write_text('step,lr,semantic,center\n1,0.1,3.5,1\n2,0.1,3,0.5\n')
    (tmp_path / 'validation.csv').write_text('step,pq,miou\n2,,0.25\n')
    scores = {
        'pq': None,
        'miou': 0.25,
        'classes': [{'name': '<b>car', 'pq': None, 'iou': 0.25, 'tp': 3}],
    }
    path = write_report(tmp_path, 'a <training>', scores, worst_pictures(Guesser(), Drawn(), 1))
    page = path.read_text()
    assert '<b>' not in page
    assert '<training>' not in page
    assert '&lt;b&gt;car' in page
    assert 'miou 25.0' in page
    assert page.count('<svg') == 1
    assert page.count('data:image/jpeg;base64,') == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert SCENE.name not in page
