"""`pdl_ros label`: what goes in, the data set that comes out, and one sentence for mistakes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from pdl_ros.bags.types import serialize
from pdl_ros.bags.writer import BagWriter
from pdl_ros.datasets.label_folder import LABELS, LabelFolder
from pdl_ros.datasets.mixture import open_mixture
from pdl_ros.imaging import files
from pdl_ros.imaging.files import read_rgb, read_samples
from pdl_ros.labels import LabelSet

from .drawn_bags import IMAGE, START, image
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


def write_coco(root: Path, *pictures: str) -> None:
    """Pictures that nobody labelled, listed in a JSON file of COCO's."""
    for name in pictures:
        write_picture(root / 'train' / name)
    images = [
        {'id': i, 'file_name': n, 'height': HEIGHT, 'width': WIDTH} for i, n in enumerate(pictures)
    ]
    categories = [{'id': 1, 'name': 'car'}]
    content = {'images': images, 'annotations': [], 'categories': categories}
    (root / 'instances_train.json').write_text(json.dumps(content))


def write_video(file: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*'MJPG'), 10, (WIDTH, HEIGHT))
    for _ in range(frames):
        writer.write(np.ascontiguousarray(drawn()[..., ::-1]))
    writer.release()


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
        names = [f'street{i}.png' for i in range(3)]
        assert sorted(p.name for p in (out / 'images/train').iterdir()) == names
    assert real.read_bytes() == before
    said = done(mixture, '--out', tmp_path / 'town', *networks, '--overwrite', status=2)
    assert 'write to another folder' in said
    assert (read_samples(tmp_path / 'town/panoptic/train/street0.png') == 1001).any()
    assert (tmp_path / 'town' / LABELS).read_text() == label_set('ground', 'vehicles').to_yaml()


def test_originals_behind_links_survive_an_out_that_is_their_folder(mixture, networks, tmp_path):
    # Only the last picture is a link, as `examples/street/prepare.py` makes them.
    link = tmp_path / 'town/images/train/street2.png'
    real = tmp_path / 'raw/images/train/street2.png'
    real.parent.mkdir(parents=True)
    link.rename(real)
    link.symlink_to(os.path.relpath(real, link.parent))
    before = real.read_bytes()
    said = done(mixture, '--out', tmp_path / 'raw', *networks, status=2)
    assert 'write to another folder' in said
    assert real.read_bytes() == before
    assert [p for p in (tmp_path / 'raw').rglob('*') if p.is_file()] == [real]


@pytest.mark.parametrize('anew', [(), ('--overwrite',)])
def test_another_picture_of_the_name_stays_and_is_told(mixture, networks, tmp_path, anew):
    own = tmp_path / 'out/images/train/street1.png'
    write(own, drawn())
    before = own.read_bytes()
    said = done(mixture, '--out', tmp_path / 'out', *networks, *anew, status=1)
    assert 'street1.png is there, and is another picture' in said
    assert own.read_bytes() == before
    assert not (tmp_path / 'out/panoptic/train/street1.png').exists()
    assert (tmp_path / 'out/panoptic/train/street2.png').exists()


@pytest.mark.parametrize('split', ['train', 'val'])
def test_labels_that_are_there_never_get_another_meaning(mixture, networks, tmp_path, split):
    out = tmp_path / 'out'
    done(mixture, '--out', out, *networks)
    other = tmp_path / 'other.yaml'
    other.write_text(label_set('car', 'road', 'bus', 'sky').to_yaml())
    (out / 'panoptic/train').rename(out / 'panoptic' / split)
    before = {p: p.read_bytes() for p in out.rglob('*') if p.is_file()}
    write_picture(tmp_path / 'plain' / 'a.png')
    arguments = (tmp_path / 'plain', '--labels', other, '--out', out, *networks)
    said = done(*arguments, '--overwrite', status=2)
    assert 'labels in other classes' in said
    assert {p: p.read_bytes() for p in out.rglob('*') if p.is_file()} == before
    (out / LABELS).unlink()
    said = done(*arguments, '--overwrite', status=2)
    assert 'says in which classes' in said
    assert not (out / LABELS).exists()


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
    write_video(video, 5)
    (tmp_path / 'mine.yaml').write_text(label_set(*NAMES).to_yaml())
    out = tmp_path / 'out'
    labels = tmp_path / 'mine.yaml'
    done(video, '--labels', labels, *networks, '--out', out, '--every', 2, '--split', 'val')
    names = [f'drive_{i:06d}' for i in (0, 2, 4)]
    assert sorted(p.stem for p in (out / 'panoptic/val').iterdir()) == names
    assert sorted(p.stem for p in (out / 'images/val').iterdir()) == names


def test_a_damaged_frame_costs_only_itself_and_what_was_done_is_told(networks, tmp_path):
    (tmp_path / 'mine.yaml').write_text(label_set(*NAMES).to_yaml())
    with BagWriter(tmp_path / 'drive') as writer:
        topic = writer.add_topic('/image', IMAGE)
        for number in range(4):
            data = serialize(image(drawn(), START + number))
            writer.write(
                topic, START + number, data.replace(b'rgb8', b'16SC') if number == 1 else data
            )
    write_video(tmp_path / 'cut.avi', 40)
    whole = (tmp_path / 'cut.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(whole[: len(whole) // 2])
    for name, why in (('drive', 'image 2: '), ('cut.avi', 'of 40 frames')):
        out, sheet = tmp_path / f'{name}_out', tmp_path / f'{name}.png'
        arguments = ('--labels', tmp_path / 'mine.yaml', '--out', out, '--sheet', sheet)
        said = done(tmp_path / name, *arguments, *networks, status=1)
        labels = len([*(out / 'panoptic/train').iterdir()])
        assert labels == 3 if name == 'drive' else 4 < labels < 40
        assert f'{labels} pictures.' in said
        assert 'lost: 1' in said
        assert why in said
        assert sheet.is_file()


def test_where_all_pictures_are_damaged_the_reasons_come_before_the_missing_sheet(
    mixture, networks, tmp_path
):
    for index in range(3):
        (tmp_path / f'town/images/train/street{index}.png').write_bytes(b'no picture')
    out, sheet = tmp_path / 'out', tmp_path / 'sheet.png'
    said = done(mixture, '--out', out, *networks, '--sheet', sheet, status=2)
    assert 'lost: 3' in said
    assert said.splitlines()[-1].startswith(f'pdl_ros: {out} has no labels in split')


def test_a_sheet_that_is_too_long_is_a_sentence(mixture, networks, tmp_path, monkeypatch):
    monkeypatch.setitem(files._LONGEST, '.jpg', 700)  # 65,500 would take a quarter of a gigabyte
    sheet = tmp_path / 'sheet.jpg'
    said = done(mixture, '--out', tmp_path / 'out', *networks, '--sheet', sheet, status=2)
    assert re.search(r'sheet.jpg would be \d+x\d+ pixels', said.splitlines()[-1])
    assert not sheet.exists()


def test_joined_names_of_a_folder_are_read_as_a_mixture_reads_them(networks, tmp_path, mixture):
    (tmp_path / 'town' / LABELS).write_text(label_set('road | sky', 'bus|car').to_yaml())
    out = tmp_path / 'out'
    done(tmp_path / 'town', '--labels', tmp_path / 'mine.yaml', '--out', out, *networks)
    names = [c.name for c in LabelSet.load(out / LABELS).classes]
    assert names == [*NAMES, 'sky|road', 'car|bus']


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
    for folder in ('images', 'panoptic'):
        write_picture(tmp_path / 'twice' / folder / 'train' / 'a.png')
    write_picture(tmp_path / 'twice' / 'images' / 'train' / 'a.jpg')
    write_coco(tmp_path / 'cameras', 'cam1/0001.png', 'cam2/0001.png')
    mine = ('--labels', tmp_path / 'mine.yaml')
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
        (tmp_path / 'twice', *out, *networks, *mine): "two pictures of the name 'a'",
        (tmp_path / 'cameras', *out, *networks, *mine): "two pictures of the name '0001'",
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
