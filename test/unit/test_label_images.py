"""Label images of messages and PNGs keep every number, and trust no message."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from pdl_ros.errors import PdlError
from pdl_ros.imaging.label_images import compressed_to_labels, png_to_labels, to_labels

KINDS = {'mono8': '<u1', '8UC1': '<u1', 'mono16': '<u2', '16UC1': '<u2', '32SC1': '<i4'}


def labels(kind: str) -> np.ndarray:
    largest = min(np.iinfo(kind).max, 10**6)
    return np.random.default_rng(0).integers(0, largest, (7, 5)).astype(kind)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False):
    height, width = pixels.shape
    written = pixels.astype(pixels.dtype.newbyteorder('>')) if big else pixels
    rows = np.ascontiguousarray(written).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=int(big),
        step=rows.shape[1],
        data=rows.reshape(-1),
    )


@pytest.mark.parametrize('encoding', KINDS)
@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
def test_every_number_comes_out_whoever_wrote_the_message(encoding, big, padding):
    pixels = labels(KINDS[encoding])
    found = to_labels(message(pixels, encoding, padding, big))
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == pixels.dtype.newbyteorder('=')


def test_a_void_of_32_bits_and_negative_numbers_stay_what_they_are():
    pixels = np.array([[65535, -1, 70000]], np.int32)
    np.testing.assert_array_equal(to_labels(message(pixels, '32SC1')), pixels)


@pytest.mark.parametrize('kind', [np.uint8, np.uint16])
def test_a_png_keeps_every_number(kind):
    pixels = labels(np.dtype(kind).str)
    data = cv2.imencode('.png', pixels)[1].tobytes()
    found = compressed_to_labels(SimpleNamespace(format='16UC1; png compressed ', data=data))
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == kind


BAD = {
    'carries no labels': lambda m: {'encoding': 'rgb8'},
    'was cut short': lambda m: {'data': m.data[:-1]},
    'fills `step` wrongly': lambda m: {'step': 3},
    'is empty': lambda m: {'height': 0},
    'must have 1 to': lambda m: {'height': 10**5, 'width': 10**5},
}


@pytest.mark.parametrize('says', BAD)
def test_a_message_that_contradicts_itself_is_a_sentence(says):
    whole = message(labels('<u2'), '16UC1')
    with pytest.raises(PdlError, match=says):
        to_labels(SimpleNamespace(**{**vars(whole), **BAD[says](whole)}))


def test_a_jpeg_or_a_coloured_png_is_no_label_image():
    colored = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(PdlError, match=r'^a\.jpg is no PNG'):
        png_to_labels(cv2.imencode('.jpg', colored)[1].tobytes(), 'a.jpg')
    with pytest.raises(PdlError, match=r'^a\.png has colours'):
        png_to_labels(cv2.imencode('.png', colored)[1].tobytes(), 'a.png')
    with pytest.raises(PdlError, match=r'^a\.png is damaged'):
        png_to_labels(cv2.imencode('.png', labels('<u2'))[1].tobytes()[:60], 'a.png')
