"""Polygons and run lengths become the masks that COCO's own tools make of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pdl_ros.datasets.polygons import Instance, Mask, paint, polygon_mask, run_length_mask
from pdl_ros.errors import PdlError

SIZE = (23, 31)
# With two digits, as COCO has them: halves and fifths of pixels are where rounding shows.
numbers = st.one_of(
    st.integers(-400, 4000).map(lambda n: n / 100), st.integers(-5, 40).map(lambda n: n / 2)
)
polygons = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=9)


def whole(mask: Mask, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.zeros(size, bool)
    height, width = mask.inside.shape
    image[mask.top : mask.top + height, mask.left : mask.left + width] = mask.inside
    return image


@settings(deadline=None, max_examples=300)
@given(polygons)
def test_a_polygon_is_filled_pixel_for_pixel_as_by_pycocotools(corners):
    flat = [float(v) for corner in corners for v in corner]
    published = coco.decode(coco.frPyObjects([flat], *SIZE))[..., 0].astype(bool)
    np.testing.assert_array_equal(whole(polygon_mask(np.array(corners), SIZE)), published)


def test_a_rectangle_between_pixels_has_the_pixels_between():
    mask = polygon_mask(np.array([[2, 3], [7, 3], [7, 5], [2, 5]]), SIZE)
    assert (mask.top, mask.left, mask.inside.shape) == (3, 2, (2, 5))
    assert mask.inside.all()


@pytest.mark.parametrize(
    'corners', [[[50, 50], [60, 50], [60, 60]], [[-9, -9], [-5, -9], [-5, -5]], [[1, 1]] * 3]
)
def test_a_polygon_without_a_pixel_in_the_image_has_an_empty_mask(corners):
    assert not polygon_mask(np.array(corners, float), SIZE).inside.any()


def test_corners_that_would_take_all_memory_are_refused():
    with pytest.raises(PdlError, match='far outside'):
        polygon_mask(np.array([[0, 0], [1e12, 0], [0, 1e12]]), SIZE)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32))
def test_run_lengths_are_read_as_numbers_and_as_a_string(seed):
    mask = np.random.default_rng(seed).random(SIZE) < 0.3
    string = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff([0, *edges.tolist(), mask.size]).tolist()
    for told in (string['counts'].decode(), counts):
        found = run_length_mask({'size': list(SIZE), 'counts': told}, SIZE)
        np.testing.assert_array_equal(whole(found), mask)


def test_of_things_that_overlap_the_smaller_is_in_front_and_crowds_are_behind(tmp_path):
    def box(top: int, bottom: int, left: int, right: int, crowd: bool = False) -> Instance:
        inside = np.ones((bottom - top, right - left), bool)
        return Instance(4, crowd, lambda size: [Mask(top, left, inside)])

    things = [box(2, 4, 2, 4), box(0, 10, 0, 10), box(3, 4, 3, 12, crowd=True)]
    labels = paint(things, SIZE, tmp_path / 'none.png', 'a.json')
    assert [s.is_crowd for s in labels.segments] == [False, False, True]
    small, large, crowd = (s.value for s in labels.segments)
    assert (labels.values[2:4, 2:4] == small).all()
    assert labels.values[3, :12].tolist() == [large] * 2 + [small] * 2 + [large] * 6 + [crowd] * 2
    assert labels.values[11, 11] == labels.unlabelled == 0
