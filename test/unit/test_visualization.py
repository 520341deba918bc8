"""Pictures of labels: what somebody looking at RViz or Foxglove reads from them."""

import itertools

import cv2
import numpy as np
import pytest

from pdl_ros import visualization
from pdl_ros.labels import LabelSet

SCENE = LabelSet.load('scene')
VOID = 65535
PERSON = 6000


@pytest.fixture(params=[np.int32, np.uint16])
def panoptic(request):
    """Road, two touching cars, a person and a void corner; (40, 60)."""
    labels = np.full((40, 60), 4000, request.param)
    labels[10:30, 10:25] = 5001
    labels[10:30, 25:40] = 5002
    labels[5:20, 50:55] = 6001
    labels[:4, :4] = VOID
    return labels


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def test_stuff_has_exactly_the_colour_of_its_class_and_void_is_black(panoptic):
    picture = visualization.colorize(panoptic, SCENE)
    assert picture.dtype == np.uint8
    assert picture.shape == (40, 60, 3)
    assert (picture[panoptic == 4000] == SCENE.classes[4].color).all()
    assert (picture[panoptic == VOID] == 0).all()


def test_a_thing_without_an_instance_has_the_colour_of_its_class():
    picture = visualization.colorize(np.array([[5000]]), SCENE)
    assert tuple(picture[0, 0]) == SCENE.classes[5].color


@pytest.mark.parametrize('name', ['scene', 'cityscapes', 'camvid'])
def test_neighbouring_instances_of_every_class_can_be_told_apart(name):
    label_set = LabelSet.load(name)
    for class_id in label_set.thing_ids:
        values = class_id * label_set.label_divisor + np.arange(1, 41)[None]
        for draw in (visualization.colorize, visualization.instances):
            colors = draw(values, label_set)[0].astype(int)
            for near in (1, 2):
                assert np.abs(colors[near:] - colors[:-near]).max(1).min() >= 25
            assert len(np.unique(colors, axis=0)) >= 38


@pytest.mark.parametrize('name', ['scene', 'cityscapes', 'camvid', 'coco', 'mapillary'])
def test_every_instance_looks_like_its_own_class_and_unlike_the_one_before(name):
    label_set = LabelSet.load(name)
    known = np.array([c.color for c in label_set.classes] + [(0, 0, 0)])
    for class_id in label_set.thing_ids:
        values = class_id * label_set.label_divisor + np.arange(1, label_set.label_divisor)[None]
        colors = visualization.colorize(values, label_set)[0].astype(int)
        distances = np.square(colors[:, None] - known).sum(2)
        nearest = known[distances.argmin(1)]
        assert (nearest == known[class_id]).all(), label_set.classes[class_id].name
        for near in (1, 2):
            assert np.abs(colors[near:] - colors[:-near]).max(1).min() >= 16


def test_no_car_has_a_shade_that_people_take_for_the_sky():
    camvid = LabelSet.load('camvid')
    shades = visualization.colorize(8000 + np.arange(1, 200)[None], camvid)
    car, sky = camvid.colors[8:9], camvid.colors[:1]
    lab = [
        cv2.cvtColor((rgb.reshape(1, -1, 3) / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
        for rgb in (shades, car, sky)
    ]
    to_car, to_sky = (np.linalg.norm(lab[0] - other, axis=2) for other in lab[1:])
    assert (to_car < 0.5 * to_sky).all()


def test_shades_stay_near_the_hue_of_their_class_so_that_people_do_not_look_like_cars():
    cars = visualization.colorize(5000 + np.arange(1, 200)[None], SCENE)[0].astype(int)
    people = visualization.colorize(6000 + np.arange(1, 200)[None], SCENE)[0].astype(int)
    assert (cars[:, 2] >= cars[:, :2].max(1)).all()  # blue
    assert (people[:, 0] >= people[:, 1:].max(1)).all()  # red


def test_colours_are_the_same_in_every_run_and_for_every_kind_of_label_array(panoptic):
    first = visualization.colorize(panoptic, SCENE)
    again = visualization.colorize(np.asfortranarray(panoptic.astype(np.int64)), SCENE)
    np.testing.assert_array_equal(first, again)
    alone = visualization.colorize(np.array([[5001]]), SCENE)
    np.testing.assert_array_equal(first[15, 15], alone[0, 0])


def test_a_label_past_the_last_class_is_black_and_not_a_crash():
    values = np.array([[7000, 7001, 64999, 200000]], np.int32)
    assert not visualization.colorize(values, SCENE).any()
    assert not visualization.instances(values, SCENE).any()


def test_instances_stand_out_of_dark_stuff(panoptic):
    picture = visualization.instances(panoptic, SCENE)
    assert picture[panoptic == 4000].max() <= 64
    assert picture[panoptic == 5001].max() >= 190
    assert (picture[panoptic == VOID] == 0).all()
    assert (picture[panoptic == 5001][0] != picture[panoptic == 5002][0]).any()


def test_contours_run_inside_things_and_between_two_that_touch(panoptic):
    edge = visualization.contours(panoptic, SCENE)
    assert edge.dtype == bool
    assert edge[10, 10:40].all()
    assert edge[10:30, 24].all()
    assert edge[10:30, 25].all()
    assert not edge[11:29, 11:24].any()
    assert not edge[np.isin(panoptic, (4000, VOID))].any()


def test_overlay_at_alpha_zero_is_the_image_but_for_the_contours(rgb, panoptic):
    picture = visualization.overlay(rgb, panoptic, SCENE, alpha=0.0)
    edge = visualization.contours(panoptic, SCENE)
    np.testing.assert_array_equal(picture[~edge], rgb[~edge])
    assert (picture[edge] == visualization.CONTOUR_COLOR).all()


def test_overlay_at_alpha_one_is_the_colours_and_the_image_where_void(rgb, panoptic):
    picture = visualization.overlay(rgb, panoptic, SCENE, alpha=1.0)
    edge, void = visualization.contours(panoptic, SCENE), panoptic == VOID
    colors = visualization.colorize(panoptic, SCENE)
    np.testing.assert_array_equal(picture[~edge & ~void], colors[~edge & ~void])
    np.testing.assert_array_equal(picture[void], rgb[void])


def test_overlay_between_is_the_mean_within_rounding_and_leaves_its_inputs_alone(rgb, panoptic):
    kept = rgb.copy(), panoptic.copy()
    picture = visualization.overlay(rgb, panoptic, SCENE, alpha=0.25)
    inside = ~visualization.contours(panoptic, SCENE) & (panoptic != VOID)
    expected = 0.25 * visualization.colorize(panoptic, SCENE) + 0.75 * rgb.astype(float)
    assert np.abs(picture[inside] - expected[inside]).max() <= 0.5
    np.testing.assert_array_equal(rgb, kept[0])
    np.testing.assert_array_equal(panoptic, kept[1])


def test_overlay_refuses_labels_of_another_size_and_an_impossible_alpha(rgb, panoptic):
    with pytest.raises(ValueError, match='differ in size'):
        visualization.overlay(rgb[1:], panoptic, SCENE)
    with pytest.raises(ValueError, match='alpha'):
        visualization.overlay(rgb, panoptic, SCENE, alpha=1.5)


@pytest.mark.parametrize('columns', [1, 2, 3, 9])
def test_the_legend_shows_every_class_in_its_colour_beside_its_name(columns):
    picture = visualization.legend(SCENE, columns, cell=(24, 100))
    rows = -(-7 // columns)
    assert picture.shape == (24 * rows, 100 * columns, 3)
    for index, label_class in enumerate(SCENE.classes):
        column, row = divmod(index, rows)
        cell = picture[24 * row : 24 * row + 24, 100 * column : 100 * column + 100]
        assert tuple(cell[12, 12]) == label_class.color
        assert (cell[:, 30:] < 128).any()


def test_a_long_class_name_does_not_run_into_the_next_column():
    name = 'a very long name of a class that nobody would choose'
    data = {
        'name': 'long',
        'classes': [
            {'name': name, 'color': [1, 2, 3], 'thing': True},
            {'name': 'x', 'color': [4, 5, 6], 'thing': True},
        ],
    }
    picture = visualization.legend(LabelSet.from_dict(data), columns=2, cell=(24, 120))
    assert (picture[:, 119:122] == 255).all()


def test_a_contact_sheet_has_a_cell_for_every_image_under_a_title_for_every_column():
    reds = [np.full((h, 80, 3), (200, 0, 0), np.uint8) for h in (40, 60)]
    blues = [np.full((h, 160, 3), (0, 0, 200), np.uint8) for h in (80, 120)]
    sheet = visualization.contact_sheet(
        list(zip(reds, blues, strict=True)), ['input', 'overlay'], width=100, gap=5, title_height=20
    )
    assert sheet.shape == (20 + 5 * 3 + 50 + 75, 5 * 3 + 200, 3)
    assert (sheet[25:75, 5:105] == (200, 0, 0)).all()
    assert (sheet[80:155, 110:210] == (0, 0, 200)).all()
    for x in (5, 110):
        assert (sheet[:25, x : x + 100] < 128).any()


def test_a_contact_sheet_with_an_image_missing_is_refused():
    image = np.zeros((10, 10, 3), np.uint8)
    for rows in ([], [[image]], [[image, image], [image]]):
        with pytest.raises(ValueError, match='one for each title'):
            visualization.contact_sheet(rows, ['a', 'b'])


def test_pictures_are_made_at_any_size(rgb):
    for height, width in itertools.product((1, 2, 1100), (1, 3)):
        labels = np.full((height, width), PERSON + 1, np.int32)
        labels[0, 0] = 4000
        image = np.zeros((height, width, 3), np.uint8)
        assert visualization.overlay(image, labels, SCENE).shape == (height, width, 3)


def test_a_caption_stands_under_its_picture_and_a_long_one_on_more_lines():
    image = np.zeros((40, 200, 3), np.uint8)
    short, long = (visualization.with_caption(image, 'found 2 of 3 ' * n) for n in (1, 4))
    assert (short.shape, long.shape[0] > 62) == ((62, 200, 3), True)
    assert (short[:40] == image).all()
    assert (short[40:] == 255).any() and short[40:].min() < 100
    assert visualization.with_caption(image, '').shape == image.shape
