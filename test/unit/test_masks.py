"""Masks leave the label map in forms that others' tools read; pycocotools is the judge."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from pdl_ros.bench.streets import street_heads
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.imaging.masks import bitmap, coco_masks, decode_mask, mask_of, polygons
from pdl_ros.labels import LabelSet


@st.composite
def label_maps(draw) -> np.ndarray:
    """Up to 5 segments and 0, in patches or as salt and pepper, in any memory order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = rng.integers(0, 6, (draw(st.integers(1, 40)), draw(st.integers(1, 40))))
    patch = np.ones((draw(st.integers(1, 9)), draw(st.integers(1, 9))), int)
    labels = np.kron(labels, patch).astype(np.int32)
    return np.asfortranarray(labels) if draw(st.booleans()) else labels


def encoded(mask: np.ndarray) -> bytes:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))['counts']


@settings(deadline=None, max_examples=300)
@given(label_maps())
def test_every_mask_is_byte_for_byte_what_pycocotools_writes(labels):
    ids = range(7)  # 6 is nowhere
    assert coco_masks(labels, ids) == [encoded(labels == i) for i in ids]


@settings(deadline=None, max_examples=100)
@given(label_maps())
def test_what_we_and_pycocotools_encode_is_decoded_again(labels):
    for label in range(7):
        mask = labels == label
        box = (0, 0, labels.shape[1], labels.shape[0])
        (ours,) = coco_masks(labels, [label])
        for counts in (ours, encoded(mask)):
            np.testing.assert_array_equal(decode_mask('coco_rle', counts, *labels.shape, box), mask)


@given(label_maps(), st.data())
def test_a_bitmap_is_put_where_its_box_is(labels, data):
    y0, y1 = sorted(data.draw(st.integers(0, labels.shape[0])) for _ in range(2))
    x0, x1 = sorted(data.draw(st.integers(0, labels.shape[1])) for _ in range(2))
    box = (x0, y0, x1, y1)
    found = decode_mask('bitmap', bitmap(labels, 1, box).tobytes(), *labels.shape, box)
    inside = np.zeros(labels.shape, bool)
    inside[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(found, (labels == 1) & inside)


@pytest.mark.parametrize(
    'kind',
    [
        bytes,
        bytearray,
        memoryview,
        list,
        lambda data: array('B', data),
        lambda data: np.frombuffer(data, np.uint8),
    ],
)
def test_the_mask_of_a_message_is_read_from_whatever_holds_its_bytes(kind):
    """A message of rclpy holds an array, one out of a bag a NumPy array."""
    labels = np.zeros((4, 6), np.int32)
    labels[1:3, 2:5] = 9
    box = SimpleNamespace(x_offset=2, y_offset=1, width=3, height=2)
    thing = SimpleNamespace(
        mask_encoding='coco_rle', mask_data=kind(coco_masks(labels, [9])[0]), box=box
    )
    message = SimpleNamespace(height=np.uint32(4), width=np.uint32(6))
    np.testing.assert_array_equal(mask_of(message, thing), labels == 9)


def test_masks_of_a_large_image_are_read_back_by_pycocotools():
    labels = np.zeros((700, 1300), np.int32)
    labels[100:650, 200:1250] = 3
    labels[300:310] = 65535
    size = list(labels.shape)
    for label, counts in zip((3, 65535), coco_masks(labels, [3, 65535]), strict=True):
        found = coco_mask.decode({'size': size, 'counts': counts})
        np.testing.assert_array_equal(found, labels == label)


def test_asking_for_no_mask_gives_none():
    assert coco_masks(np.ones((3, 4), np.int32), []) == []


def test_a_segment_of_a_result_has_the_same_mask_in_all_forms():
    cityscapes = LabelSet.load('cityscapes')
    result = fuse(
        street_heads((128, 256), 12, cityscapes), cityscapes, FusionSettings(), (128, 256)
    )
    things = [row for row in result.segments.rows() if row['is_thing']]
    labels = result.instance.numpy()
    masks = coco_masks(labels, [row['instance_id'] for row in things])
    assert len(things) > 5
    for row, counts in zip(things, masks, strict=True):
        x0, y0, x1, y1 = row['box']
        decoded = coco_mask.decode({'size': [128, 256], 'counts': counts})
        assert decoded.sum() == row['area']
        crop = bitmap(labels, row['instance_id'], row['box'])
        np.testing.assert_array_equal(decoded[y0:y1, x0:x1], crop)
        drawn = np.zeros((128, 256), np.uint8)
        cv2.fillPoly(drawn, polygons(labels, row['instance_id'], row['box']), 1)
        assert (drawn >= decoded).all()  # nothing is lost; holes are filled
        assert drawn.sum() <= decoded.sum() + _holes(decoded)


@pytest.mark.parametrize('shape', [(1, 1), (1, 5), (5, 1)])
def test_a_polygon_of_a_line_of_pixels_covers_it(shape):
    labels = np.full(shape, 2, np.int32)
    (outline,) = polygons(labels, 2, (0, 0, shape[1], shape[0]))
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, [outline], 1)
    assert drawn.all()


def _holes(mask: np.ndarray) -> int:
    """Count the pixels outside a mask that are cut off from the border of the image."""
    outside = np.pad(1 - mask, 1, constant_values=1).astype(np.uint8)
    _, regions = cv2.connectedComponents(outside, connectivity=4)
    return int(((regions != regions[0, 0]) & (outside > 0)).sum())
