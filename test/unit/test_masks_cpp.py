"""What a C++ node reads by include/pdl_ros/masks.hpp is what Python reads, whatever the bytes."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pdl_ros.errors import PdlError
from pdl_ros.imaging.masks import MAX_MASK_PIXELS, bitmap, coco_masks, decode_mask

INCLUDE = Path(__file__).resolve().parents[2] / 'include'
PROGRAM = Path(__file__).with_name('decode_masks.cpp')
STRICT = ['-Wall', '-Wextra', '-Wpedantic', '-Wconversion', '-Wsign-conversion', '-Wshadow']
SANITIZE = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
COMPILER = next((name for name in ('g++', 'c++', 'clang++') if shutil.which(name)), None)


class Message(NamedTuple):
    """The fields of a PanopticInstance and its array that a mask hangs on."""

    encoding: str
    data: bytes
    height: int
    width: int
    box: tuple[int, int, int, int]  # x, y, width, height, as in a RegionOfInterest


class Decoder:
    """The header in a process that answers as long as nothing undefined happens in it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def whole(self, message: Message) -> np.ndarray | str:
        """Return the mask of the whole image, or the sentence of the exception."""
        return self._ask(True, message, (message.height, message.width))

    def in_box(self, message: Message) -> np.ndarray | str:
        """Return the mask of the box, or the sentence of the exception."""
        return self._ask(False, message, (message.box[3], message.box[2]))

    def _ask(self, whole: bool, message: Message, shape: tuple[int, int]) -> np.ndarray | str:
        texts = [message.encoding.encode(), message.data]
        request = struct.pack('<7I', whole, message.height, message.width, *message.box)
        request += b''.join(struct.pack('<I', len(text)) + text for text in texts)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(request)
        stdin.flush()
        head = stdout.read(8)
        assert len(head) == 8, f'the decoder died of {message}'
        good, size = struct.unpack('<2I', head)
        answer = stdout.read(size)
        return np.frombuffer(answer, np.uint8).reshape(shape) if good else answer.decode()


@pytest.fixture(scope='module')
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    """The header, compiled with the sanitizers where the compiler has them."""
    program = tmp_path_factory.mktemp('masks') / 'decode_masks'
    if not _compile('-std=c++14', '-O1', '-g', *SANITIZE, '-o', program, check=False):
        _compile('-std=c++14', '-O1', '-g', '-o', program)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Decoder(process)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    assert process.returncode == 0


@st.composite
def masks(draw) -> np.ndarray:
    """Patches and salt and pepper, and images of one value."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random((draw(st.integers(1, 20)), draw(st.integers(1, 20)))) < draw(
        st.sampled_from([0, 0.1, 0.5, 1])
    )
    return np.kron(mask, np.ones((draw(st.integers(1, 5)), draw(st.integers(1, 5))), bool))


@st.composite
def messages(draw) -> Message:
    """What the node sends."""
    mask = draw(masks())
    height, width = mask.shape
    box = _tight(mask)
    if draw(st.booleans()):
        return Message('coco_rle', coco_masks(mask, [1])[0], height, width, box)
    x, y, w, h = box
    data = bitmap(mask.astype(np.int32), 1, (x, y, x + w, y + h)).tobytes()
    return Message('bitmap', data, height, width, box)


@st.composite
def damaged(draw) -> Message:
    """What the node sends, with something cut off, added, changed or claimed."""
    message = draw(messages())
    data = bytearray(message.data)
    cut = draw(st.integers(0, len(data)))
    middle = draw(st.one_of(st.just(b''), st.binary(max_size=9), st.text('0_oPX').map(str.encode)))
    data[cut : cut + draw(st.integers(0, 3))] = middle
    numbers = st.one_of(st.integers(0, 30), st.sampled_from([2**14, 2**31, 2**32 - 1]))
    if draw(st.booleans()):
        message = message._replace(box=draw(st.tuples(numbers, numbers, numbers, numbers)))
    if draw(st.booleans()):
        message = message._replace(height=draw(numbers), width=draw(st.integers(0, 99)))
    if draw(st.booleans()):
        message = message._replace(
            encoding=draw(st.sampled_from(['', 'none', 'coco_rle', 'bitmap', 'png', '\0']))
        )
    return message._replace(data=bytes(data))


@settings(deadline=None, max_examples=200)
@given(message=messages())
def test_a_cpp_node_has_every_mask_as_python_has_it(decoder: Decoder, message: Message):
    expected = _in_python(message)
    assert isinstance(expected, np.ndarray)
    whole, part = decoder.whole(message), decoder.in_box(message)
    x, y, width, height = message.box
    np.testing.assert_array_equal(whole, np.where(expected, 255, 0))
    np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])


@settings(deadline=None, max_examples=400)
@given(message=damaged())
@example(message=Message('coco_rle', b'oooooooooo', 2, 2, (0, 0, 1, 1)))
@example(message=Message('coco_rle', b'0oooooo?0', 2, 2, (0, 0, 1, 1)))
@example(message=Message('coco_rle', b'0M', 2, 2, (0, 0, 2, 2)))  # a negative run
@example(message=Message('coco_rle', b'04', 2, 1, (0, 0, 1, 2)))  # past the image
@example(message=Message('coco_rle', b'0' * 999, 0, 7, (0, 0, 7, 0)))
@example(message=Message('bitmap', b'\2\0', 1, 2, (0, 0, 2, 1)))
@example(message=Message('coco_rle', b'0', 2**32 - 1, 2**32 - 1, (0, 0, 1, 1)))
@example(message=Message('bitmap', b'', 9, 9, (2**32 - 1, 2**32 - 1, 2, 2)))
def test_damaged_masks_are_refused_or_read_alike_and_never_end_a_cpp_node(
    decoder: Decoder, message: Message
):
    expected, whole, part = _in_python(message), decoder.whole(message), decoder.in_box(message)
    if isinstance(expected, str):
        assert isinstance(whole, str), (message, expected)
        assert part == whole
    else:
        x, y, width, height = message.box
        np.testing.assert_array_equal(whole, np.where(expected, 255, 0))
        np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])


@pytest.mark.parametrize(
    ('encoding', 'data', 'size', 'box', 'words'),
    [
        ('', b'', (2, 2), (0, 0, 1, 1), 'carries no mask; set .* mask_encoding to coco_rle'),
        ('png', b'', (2, 2), (0, 0, 1, 1), '"png" is not known; it can be coco_rle or bitmap'),
        ('bitmap', b'\1', (2, 2), (0, 0, 2, 1), 'a bitmap of 1 bytes for a box of 2x1 pixels'),
        ('bitmap', b'\1', (2, 3), (3, 1, 1, 1), 'reaches outside the image of 3x2 pixels'),
        ('coco_rle', b'03', (2, 2), (0, 0, 1, 1), 'end after 3 of 4 pixels'),
        ('coco_rle', b'05', (2, 2), (0, 0, 1, 1), 'longer than the image'),
        ('coco_rle', b'0M', (2, 2), (0, 0, 1, 1), 'a run length is negative'),
        ('coco_rle', b'0P', (2, 2), (0, 0, 1, 1), 'ends within a run length'),
        ('coco_rle', b'0 ', (2, 2), (0, 0, 1, 1), 'a byte that is no run length'),
        ('coco_rle', b'04p', (2, 2), (0, 0, 1, 1), 'a byte that is no run length'),
        ('coco_rle', b'0oooooooo0', (2, 2), (0, 0, 1, 1), 'a run length does not end'),
        ('coco_rle', b'0', (2**16, 2**16), (0, 0, 1, 1), f'larger than the {MAX_MASK_PIXELS}'),
    ],
)
def test_both_say_in_the_same_words_what_is_wrong_with_a_mask(
    decoder: Decoder, encoding, data, size, box, words
):
    message = Message(encoding, data, *size, box)
    sentence = decoder.whole(message)
    assert sentence == _in_python(message)
    with pytest.raises(PdlError, match=words):
        raise PdlError(sentence)


@pytest.mark.parametrize('standard', ['c++14', 'c++17', 'c++20'])
def test_the_header_compiles_without_a_warning(standard, tmp_path):
    _compile(f'-std={standard}', *STRICT, '-Werror', '-fsyntax-only')


def _compile(*options: str | Path, check: bool = True) -> bool:
    assert COMPILER, 'a C++ compiler is needed, as for the messages'
    command = [COMPILER, f'-I{INCLUDE}', PROGRAM, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stderr
    return done.returncode == 0


def _in_python(message: Message) -> np.ndarray | str:
    x, y, width, height = message.box
    try:
        return decode_mask(*message[:4], (x, y, x + width, y + height))
    except PdlError as error:
        return str(error)


def _tight(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return the x, y, width and height of the box around a mask; nothing is around nothing."""
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y
