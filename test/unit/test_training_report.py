"""A training's page holds all that it shows, and shows the worst first."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from pdl_ros.evaluation import PanopticEvaluator
from pdl_ros.training.pictures import side_by_side, worst_pictures
from pdl_ros.training.report import write_report
from pdl_ros.visualization import colorize

from .drawn import SCENE, Drawn
from .test_cli import call


class Guesser:
    """Segment every picture of the drawn streets as sky over road, without a car."""

    label_set = SCENE

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


class Page(HTMLParser):
    """The cells of the tables of a page, by row, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_data(self, data):
        if self.tags[-1][0] in ('td', 'th'):
            self.tables[-1][-1][-1] += data


def test_the_pictures_with_most_wrong_pixels_come_first():
    found = worst_pictures(Guesser(), MoreAndMoreCars(), count=2)
    assert [picture.name for picture in found] == ['<street 2>', '<street 1>']
    sample = MoreAndMoreCars()[2]
    wrong = np.isin(sample.panoptic, (5001, 5002)).mean()
    assert found[0].wrong == pytest.approx(wrong)
    assert found[0].labels.shape == found[0].prediction.shape == (336, 480, 3)


def test_a_picture_stands_beside_its_labels_and_what_was_predicted():
    sample = Drawn()[0]
    wide = side_by_side(Guesser(), sample)
    picture, labels, prediction = (wide[-342:-6, 6 + 486 * i : 486 * (i + 1)] for i in range(3))
    car = (slice(180, 230), slice(60, 150))  # of the labels, and of none that are predicted
    red, sky = sample.image[40, 20].astype(int), sample.image[5, 5].astype(int)
    assert (picture[car] == red).all()
    number = [s.id for s in sample.segments if s.class_id == 5].index(5001) + 1
    of_car = colorize(np.array([[5000 + number]], np.uint16), SCENE)[0, 0]
    sky_place = (slice(20, 60), slice(20, 60))
    for seen, shown, color in (
        (labels[car], red, of_car),
        (prediction[car], red, SCENE.colors[4]),
        (prediction[sky_place], sky, SCENE.colors[0]),
    ):
        np.testing.assert_allclose(seen.mean((0, 1)), (shown + color) / 2, atol=2)


def test_the_page_needs_no_other_file_and_believes_no_name(tmp_path):
    pytest.importorskip('matplotlib')
    (tmp_path / 'log.csv').write_text('step,lr,semantic,center\n1,0.1,3.5,1\n2,0.1,3,0.5\n')
    (tmp_path / 'validation.csv').write_text('step,pq,miou\n2,,0.25\n')
    scores = {
        'pq': None,
        'miou': 0.25,
        'classes': [{'name': '<b>car', 'pq': None, 'iou': 0.25, 'tp': 3}],
        'confusion': [[1, 3]],
    }
    path = write_report(tmp_path, 'a <training>', scores, worst_pictures(Guesser(), Drawn(), 1))
    page = path.read_text()
    assert '<b>' not in page
    assert '<training>' not in page
    assert page.count('&lt;b&gt;car') == 3
    assert 'miou 25.0' in page
    assert page.count('<svg') == 1
    assert page.count('data:image/jpeg;base64,') == 2
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert 'script' not in {tag for tag, _ in Page(page).tags}
    assert SCENE.name not in page


def test_a_training_without_a_step_yet_has_a_page_without_curves(tmp_path):
    pytest.importorskip('matplotlib')
    (tmp_path / 'log.csv').touch()
    (tmp_path / 'validation.csv').write_text('step,pq,miou\n')
    assert write_report(tmp_path, 'x', None, []).read_text().count('<svg') == 1


@pytest.mark.parametrize('step', [0, -1])
def test_to_pause_before_the_first_step_is_refused_before_anything_is_written(tmp_path, step):
    out = tmp_path / 'run'
    refused = call('train', 'scene_tiny', '--data', 'scene', '--out', out, '--until', step)
    assert refused.returncode == 2
    assert "Invalid value for '--until'" in refused.stderr
    assert not out.exists()


@pytest.mark.parametrize('ap_rule', ['cityscapes', 'none'])
def test_the_page_says_which_class_was_taken_for_which_and_ap_beside_pq(tmp_path, ap_rule):
    pytest.importorskip('matplotlib')
    evaluator, guesser = PanopticEvaluator(SCENE, ap_rule), Guesser()
    for sample in map(Drawn().__getitem__, range(3)):
        result = guesser(sample.image)
        result.semantic[0, :20] = 255
        evaluator.update(result.panoptic, sample, result.semantic, {})
    scores = json.loads(json.dumps(evaluator.compute().to_dict()))  # as it lies in scores.json
    table, shares = Page(write_report(tmp_path, 'x', scores, []).read_text()).tables

    ap = ['AP', 'AP50'] if ap_rule == 'cityscapes' else []
    assert table[0][: 3 + len(ap)] == ['class', 'PQ', 'IoU', *ap]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert rows['car'][: 2 + len(ap)] == ['0.0'] * (2 + len(ap))

    names = [c.name for c in SCENE.classes]
    assert shares[0] == ['', *names, 'void']
    assert [row[0] for row in shares[1:]] == names
    shown = {row[0]: dict(zip(shares[0][1:], row[1:], strict=True)) for row in shares[1:]}
    truth = np.stack([Drawn()[i].panoptic for i in range(3)])
    cars, sky = truth // 1000 == 5, truth == 0
    as_sky, void = cars[:, :35].sum() / cars.sum(), 60 / sky.sum()
    sky_name, road_name = names[0], names[4]
    assert {name: share for name, share in shown['car'].items() if share} == {
        sky_name: f'{100 * as_sky:.1f}',
        road_name: f'{100 * (1 - as_sky):.1f}',
    }
    assert shown[sky_name]['void'] == f'{100 * void:.1f}'
    assert not any(shown[names[1]].values())  # no pixel was labelled so
