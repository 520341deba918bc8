"""`pdl_ros label`: what goes in, the data set that comes out, and one sentence for mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from pdl_ros.datasets.label_folder import LABELS, LabelFolder
from pdl_ros.datasets.mixture import open_mixture
from pdl_ros.imaging.files import read_rgb, read_samples
from pdl_ros.labels import LabelSet

from .teacher_networks import SIZE, ByColour, Rows, describe, save_onnx
from .test_cli import call

pytest.importorskip('openvino')
pytest.importorskip('onnx')
NAMES = ['sky', 'road', 'car', 'bus']
COLORS = [(90, 160, 230), (80, 80, 80), (220, 20, 20), (250, 250, 250)]
SKY, ROAD, CAR, BUS = range(4)
HEIGHT, WIDTH = SIZE
CARS = (slice(30, 54), slice(16, 80))


@pytest.fixture(scope='module')
def networks(tmp_path_factory) -> list[object]:
    """The options that name a teacher of colours, and one that sees two boxes side by side."""
    folder = tmp_path_factory.mktemp('teachers')
    semantic = describe(save_onnx(ByColour(COLORS), folder / 'colours.onnx'), classes=[*NAMES])
    rows = torch.zeros(8 * 12 + 4 * 6 + 2 * 3, 6)
    for row, x in ((0, 32), (1, 64)):  # 32x24 around (x, 42), from cells (0, 0) and (1, 0)
        rows[row] = torch.tensor([x / 8 - row, 42 / 8, np.log(4), np.log(3), 1, 0.9])
    boxes = describe(
        save_onnx(Rows(rows, drawn()), folder / 'rows.onnx'), kind='boxes', classes=['car']
    )
    return ['--semantic', semantic, '--boxes', boxes]


@pytest.fixture
def mixture(tmp_path) -> Path:
    """A mixture of one set: two cars that are one, sky and road that nobody told apart, and the
    right edge unlabelled.
    """
    for index in range(3):
        write_picture(tmp_path / 'town' / 'images' / 'train' / f'street{index}.png')
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[CARS] = 1001
    labels[:, 90:] = 65535
    write(tmp_path / 'town' / 'panoptic' / 'train' / 'street0.png', labels)
    for index in (1, 2):
        write(tmp_path / 'town' / 'panoptic' / 'train' / f'street{index}.png', labels)
    (tmp_path / 'town' / LABELS).write_text(label_set('ground', 'vehicles').to_yaml())
    (tmp_path / 'mine.yaml').write_text(label_set(*NAMES).to_yaml())
    sets = {
        'town': {
            'folder': 'town',
            'weight': 0,
            'classes': {'ground': 'sky|road', 'vehicles': 'car|bus'},
            'crowds': ['vehicles'],
        }
    }
    file = tmp_path / 'mixture.yaml'
    file.write_text(yaml.safe_dump({'labels': 'mine.yaml', 'sets': sets}))
    return file


def label_set(*names: str) -> LabelSet:
    things = ('car', 'bus', 'vehicles')
    classes = [
        {'name': name, 'color': [i, 9, 9], 'thing': name in things} for i, name in enumerate(names)
    ]
    return LabelSet.from_dict({'name': 'mine', 'classes': classes})


def drawn() -> np.ndarray:
    """Sky over road with two red cars that touch."""
    picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    picture[:30], picture[30:] = COLORS[SKY], COLORS[ROAD]
    picture[CARS] = COLORS[CAR]
    return picture


def write_picture(file: Path) -> None:
    write(file, drawn()[..., ::-1])


def write(file: Path, pixels: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), pixels)


def done(*arguments: object, status: int = 0) -> str:
    """Run the command; return what it said."""
    ended = call('label', *arguments)
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr


def test_what_the_data_leave_open_is_decided_and_joined_cars_are_split(mixture, networks, tmp_path):
    out = tmp_path / 'out'
    said = done(mixture, '--out', out, *networks)
    assert '3 pictures.' in said
    assert '3 joined regions of things: 3 became 6 instances, 0 are doubtful' in said
    sample = LabelFolder(out, 'train', LabelSet.load(out / LABELS))[0]
    ids = {s.class_id: s for s in sample.segments}
    # What stays joined is a rim, where the pixels of the teacher are of two colours.
    assert set(ids) - {SKY, ROAD, CAR} <= {4}
    assert (sample.panoptic // 1000 == 4).mean() < 0.05
    assert sample.panoptic[5, 5] == ids[SKY].id
    assert sample.panoptic[60, 5] == ids[ROAD].id
    assert sample.panoptic[5, 95] == ids[SKY].id  # which nobody had labelled
    left, right = sample.panoptic[42, 20], sample.panoptic[42, 76]
    cars = {s.id for s in sample.segments if s.class_id == CAR}
    assert {left, right} == cars
    assert len(cars) == 2
    np.testing.assert_array_equal(
        sample.image, read_rgb(tmp_path / 'town/images/train/street0.png')
    )


def test_what_comes_out_is_a_set_of_a_mixture_again(mixture, networks, tmp_path):
    out = tmp_path / 'out'
    done(mixture, '--out', out, *networks[:2], '--confidence', 1)  # never that sure
    again = tmp_path / 'again.yaml'
    again.write_text(yaml.safe_dump({'labels': 'mine.yaml', 'sets': {'t': {'folder': 'out'}}}))
    opened = open_mixture(again, 'train')
    assert opened.groups == ((SKY, ROAD), (CAR, BUS))
    sample = opened[0]
    found = {(s.class_id, s.is_crowd) for s in sample.segments}
    assert found <= {(SKY, False), (ROAD, False), (4, False), (5, True), (CAR, True)}
    assert (5, True) in found or (CAR, True) in found


def test_labels_that_are_there_are_kept_until_they_are_to_be_made_anew(mixture, networks, tmp_path):
    out = tmp_path / 'out'
    done(mixture, '--out', out, *networks, '--limit', 1)
    first = out / 'panoptic' / 'train' / 'street0.png'
    mine = np.full((HEIGHT, WIDTH), 7, np.uint16)
    write(first, mine)
    said = done(mixture, '--out', out, *networks)
    assert '2 pictures.' in said
    assert '1 pictures had labels' in said
    np.testing.assert_array_equal(read_samples(first), mine)
    said = done(mixture, '--out', out, *networks, '--overwrite')
    assert '3 pictures.' in said
    assert not (read_samples(first) == mine).all()


def test_a_damaged_picture_costs_only_itself(mixture, networks, tmp_path):
    (tmp_path / 'town/images/train/street1.png').write_bytes(b'no picture')
    said = done(mixture, '--out', tmp_path / 'out', *networks, status=1)
    assert 'street1.png' in said
    there = sorted(p.stem for p in (tmp_path / 'out/panoptic/train').iterdir())
    assert there == ['street0', 'street2']


def test_the_pictures_of_the_user_are_never_changed(mixture, networks, tmp_path):
    # Links to pictures elsewhere are followed: a link to a link leads nowhere in another folder.
    picture = tmp_path / 'town/images/train/street0.png'
    real = tmp_path / 'elsewhere.png'
    picture.rename(real)
    picture.symlink_to(os.path.relpath(real, picture.parent))
    before = real.read_bytes()
    out = tmp_path / 'out'
    for _ in range(2):
        done(mixture, '--out', out, *networks, '--overwrite')
        assert read_rgb(out / 'images/train/street0.png').shape == (HEIGHT, WIDTH, 3)
    assert real.read_bytes() == before
    said = done(mixture, '--out', tmp_path / 'town', *networks, '--overwrite', status=2)
    assert 'write to another folder' in said
    assert (read_samples(tmp_path / 'town/panoptic/train/street0.png') == 1001).any()
    assert (tmp_path / 'town' / LABELS).read_text() == label_set('ground', 'vehicles').to_yaml()


def test_pictures_without_labels_get_what_the_teacher_is_sure_of(networks, tmp_path):
    write_picture(tmp_path / 'plain' / 'a.png')
    (tmp_path / 'mine.yaml').write_text(label_set(*NAMES).to_yaml())
    arguments = (tmp_path / 'plain', '--labels', tmp_path / 'mine.yaml', *networks)
    done(*arguments, '--out', tmp_path / 'all')
    panoptic = read_samples(tmp_path / 'all/panoptic/train/a.png')
    assert panoptic[42, 40] == CAR * 1000  # a crowd: nobody but the teacher says that it is a car
    assert panoptic[5, 5] == SKY * 1000
    done(*arguments, '--out', tmp_path / 'stuff', '--add', 'stuff')
    panoptic = read_samples(tmp_path / 'stuff/panoptic/train/a.png')
    assert panoptic[42, 40] == 65535
    assert panoptic[5, 5] == SKY * 1000


def test_every_other_frame_of_a_video_is_labelled(networks, tmp_path):
    video = tmp_path / 'drive.avi'
    write_picture(tmp_path / 'frame.png')
    frame = cv2.imread(str(tmp_path / 'frame.png'))
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'MJPG'), 10, (WIDTH, HEIGHT))
    for _ in range(5):
        writer.write(frame)
    writer.release()
    (tmp_path / 'mine.yaml').write_text(label_set(*NAMES).to_yaml())
    out = tmp_path / 'out'
    labels = tmp_path / 'mine.yaml'
    done(video, '--labels', labels, *networks, '--out', out, '--every', 2, '--split', 'val')
    names = [f'drive_{i:06d}' for i in (0, 2, 4)]
    assert sorted(p.stem for p in (out / 'panoptic/val').iterdir()) == names
    assert sorted(p.stem for p in (out / 'images/val').iterdir()) == names


def test_true_instances_are_split_where_the_user_does_not_believe_them(networks, tmp_path, mixture):
    labels = tmp_path / 'mine.yaml'
    (tmp_path / 'town' / LABELS).write_text(label_set('road', 'car').to_yaml())
    arguments = (tmp_path / 'town', '--labels', labels, *networks)
    said = done(*arguments, '--out', tmp_path / 'a')
    assert 'joined regions' not in said
    said = done(*arguments, '--out', tmp_path / 'b', '--separate', 'car')
    assert '3 joined regions of things: 3 became 6 instances' in said


def test_the_sheet_shows_pictures_beside_their_labels(mixture, networks, tmp_path):
    for name, pictures in (('sheet.png', 2), ('sheet.jpg', 1)):
        sheet = tmp_path / name
        done(
            mixture, '--out', tmp_path / 'out', *networks, '--sheet', sheet, '--pictures', pictures
        )
        assert read_rgb(sheet).shape[1] >= 800
    rgb = read_rgb(tmp_path / 'sheet.png')
    assert (np.abs(rgb.astype(int) - COLORS[CAR]).max(2) < 12).any()  # the picture
    assert (np.abs(rgb.astype(int) - (CAR, 9, 9)).max(2) < 2).any()  # the labels


def test_a_mistake_is_one_sentence(mixture, networks, tmp_path):
    out = ('--out', tmp_path / 'out')
    other = tmp_path / 'other'
    (other / 'panoptic' / 'train').mkdir(parents=True)
    (other / LABELS).write_text(label_set('cup', 'fork').to_yaml())
    write_picture(tmp_path / 'plain' / 'a.png')
    write_picture(tmp_path / 'plain' / 'a.bmp')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'b.onnx').touch()
    mistakes = {
        (mixture, *out): 'Nobody is there to ask',
        (mixture, *out, *networks, '--set', 'village'): "no set 'village'",
        (mixture, *out, *networks, '--split', 'test'): "split 'test'",
        (mixture, *out, *networks, '--confidence', 0): 'confidence is 0',
        (mixture, *out, *networks, '--add', 'cars'): "--add names 'cars'",
        (mixture, *out, *networks, '--separate', 'road'): 'is no thing',
        (mixture, '--out', other, *networks): 'labels in other classes',
        (tmp_path / 'plain', *out, *networks): "two pictures of the name 'a'",
        (tmp_path / 'empty', *out, *networks): 'neither labelled images nor pictures',
        (tmp_path / 'nothing.png', *out, *networks): 'No file or folder',
        (tmp_path / 'town', *out, *networks, '--set', 'town'): 'is none',
        (mixture, *out, '--boxes', tmp_path / 'a.onnx'): 'No file',
        (mixture, *out, '--boxes', tmp_path / 'b.onnx'): 'write b.yaml beside it',
        (mixture, *out, *networks, '--described', tmp_path / 'c.yaml'): 'describes none of the',
        (mixture, *out, *networks, '--sheet', tmp_path): 'is a folder',
        (mixture, *out, *networks, '--sheet', tmp_path / 'seen.txt'): 'must end in .jpg or .png',
    }
    for arguments, says in mistakes.items():
        said = done(*arguments, status=2)
        assert says in said
        assert said.startswith('pdl_ros: ')
        assert said.count('\n') == 1
    assert not (tmp_path / 'out' / 'panoptic').exists()
