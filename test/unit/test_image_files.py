"""Pictures of every kind are read right, and what is no whole picture is refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pdl_ros.errors import PdlError
from pdl_ros.imaging.decoding import decode
from pdl_ros.imaging.files import list_images, read_rgb, read_samples, write_image

ORIENTATION = 0x0112
# What a viewer does with a picture of each EXIF orientation.
SHOWN = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p),
}


def exif(orientation: int) -> Image.Exif:
    data = Image.Exif()
    data[ORIENTATION] = orientation
    return data


@pytest.fixture
def picture() -> np.ndarray:
    """A (48, 64, 3) picture that JPEG keeps well, different in every corner and channel."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack((3 * x, 5 * y, 255 - 2 * x - y), -1).astype(np.uint8)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def fill_before_markers(jpeg: bytes) -> bytes:
    """Put fill bytes before every marker of the headers, as the standard allows (B.1.1.2)."""
    filled, at = jpeg[:2], 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], 'big')
        filled += b'\xff' * 3 + jpeg[at:end]
        at = end
    return filled + b'\xff' + jpeg[at:]


def test_a_jpeg_with_fill_bytes_before_its_markers_is_whole(tmp_path, picture):
    plain = saved(tmp_path / 'plain.jpg', Image.fromarray(picture))
    filled = tmp_path / 'filled.jpg'
    filled.write_bytes(fill_before_markers(plain.read_bytes()))
    np.testing.assert_array_equal(read_rgb(filled), read_rgb(plain))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp'])
@pytest.mark.parametrize('orientation', SHOWN)
def test_a_picture_is_turned_as_viewers_turn_it_whatever_its_format(
    tmp_path, picture, suffix, orientation
):
    lossless = {'.jpg': {'quality': 100, 'subsampling': 0}, '.webp': {'lossless': True}}
    file = saved(
        tmp_path / f'a{suffix}',
        Image.fromarray(picture),
        exif=exif(orientation),
        **lossless.get(suffix, {}),
    )
    expected = SHOWN[orientation](picture)
    read = read_rgb(file)
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).max() <= (6 if suffix == '.jpg' else 0)


def test_labels_with_an_exif_tag_of_their_own_are_turned_like_a_picture(tmp_path):
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1001
    file = saved(tmp_path / 'a.png', Image.fromarray(labels), exif=exif(6))
    read = read_samples(file)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, np.rot90(labels, -1))


def test_broken_exif_data_leave_the_picture_as_it_is_stored(tmp_path, picture):
    whole = saved(tmp_path / 'a.jpg', Image.fromarray(picture), exif=exif(6).tobytes())
    broken = tmp_path / 'b.jpg'
    broken.write_bytes(whole.read_bytes().replace(b'Exif\0\0MM\0*', b'Exif\0\0MM\0\xff', 1))
    assert whole.read_bytes() != broken.read_bytes()
    assert read_rgb(broken).shape == picture.shape


@pytest.mark.parametrize(
    ('suffix', 'mode'),
    [
        *(('.png', mode) for mode in ('L', '1', 'P', 'RGBA', 'LA', 'I;16')),
        *(('.tif', mode) for mode in ('L', '1', 'P', 'RGBA', 'LA', 'I;16', 'CMYK')),
        *(('.jpg', mode) for mode in ('L', 'CMYK')),
    ],
)
def test_grey_palette_alpha_16_bit_and_cmyk_pictures_have_the_colours_that_opencv_reads(
    tmp_path, picture, suffix, mode
):
    image = Image.fromarray(picture)
    if mode == 'I;16':
        image = Image.fromarray(picture[..., 0].astype(np.uint16) * 256 + 7)
    else:
        image = image.convert(mode)
    file = saved(tmp_path / f'a{suffix}', image)
    expected = cv2.imread(str(file), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    assert np.abs(read_rgb(file) - expected).max() <= (1 if mode == 'CMYK' else 0)


def test_a_colour_png_of_16_bits_keeps_the_upper_8(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    assert cv2.imwrite(str(tmp_path / 'a.png'), deep[..., ::-1])
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.png'), deep >> 8)


def test_hidden_files_and_folders_beside_pictures_are_no_pictures(tmp_path, picture):
    saved(tmp_path / 'b.jpg', Image.fromarray(picture))
    saved(tmp_path / 'A.PNG', Image.fromarray(picture))
    for name in ('._b.jpg', '.DS_Store', 'Thumbs.db', '.hidden.png'):
        (tmp_path / name).write_bytes(b'\0\x05\x16\x07')
    (tmp_path / 'folder.jpg').mkdir()
    assert [p.name for p in list_images(tmp_path)] == ['A.PNG', 'b.jpg']


@pytest.mark.parametrize('content', [b'', b'\0\x05\x16\x07 resource fork', b'<html>', b'II*\0'])
def test_a_file_with_a_picture_s_name_that_is_none_is_one_sentence(tmp_path, content):
    file = tmp_path / 'a.jpg'
    file.write_bytes(content)
    with pytest.raises(PdlError, match=r'a\.jpg .*damaged, or of|a\.jpg cannot be read') as error:
        read_rgb(file)
    assert '\n' not in str(error.value)


def test_a_missing_file_and_a_folder_are_named_with_the_reason(tmp_path):
    for path in (tmp_path / 'none.jpg', tmp_path):
        with pytest.raises(PdlError, match=f'{path} cannot be read: '):
            read_rgb(path)


def test_a_picture_too_long_for_its_format_is_a_sentence_and_no_empty_file(tmp_path, capfd):
    long = np.zeros((65_501, 4, 3), np.uint8)
    with pytest.raises(PdlError, match=r'a.jpg would be 4x65501 pixels.* or a .png'):
        write_image(tmp_path / 'a.jpg', long)
    write_image(tmp_path / 'a.png', long)
    with pytest.raises(PdlError, match='would be 1x1000001 pixels'):
        write_image(tmp_path / 'b.png', np.zeros((1_000_001, 1), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ['a.png']
    assert capfd.readouterr() == ('', '')


def test_more_pixels_than_allowed_are_refused_before_memory_is_taken(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, 'PNG')
    data = file.getvalue()
    assert decode(data, 'It', max_pixels=48 * 64).size == (64, 48)
    with pytest.raises(PdlError, match='It says that it is 64x48; it must have 1 to 3071 pixels'):
        decode(data, 'It', max_pixels=48 * 64 - 1)
    bomb = data.replace(struct.pack('>II', 64, 48), struct.pack('>II', 2**30, 2**30))
    with pytest.raises(PdlError):
        decode(bomb, 'It')


def test_a_small_file_cannot_keep_the_decoder_busy_for_seconds():
    file = io.BytesIO()
    Image.new('L', (4000, 4000), 128).save(file, 'JPEG', progressive=True)
    jpeg = file.getvalue()
    last_scan = jpeg[jpeg.rindex(b'\xff\xda') : -2]
    scans = jpeg[:-2] + last_scan * 4000 + jpeg[-2:]  # 20 s of empty passes over all pixels
    segments = jpeg[:2] + b'\xff\xe5\0\2' * 10**6 + jpeg[2:]
    for hostile in (scans, segments):
        started = time.perf_counter()
        with pytest.raises(PdlError):
            decode(hostile, 'It')
        assert time.perf_counter() - started < 5


def test_hostile_pictures_print_nothing():
    # The decoders of OpenCV write to file descriptor 2, where no log level reaches them.
    done = subprocess.run(
        [
            sys.executable,
            '-c',
            """
import io, sys
import numpy as np
from PIL import Image
from pdl_ros.errors import PdlError
from pdl_ros.imaging.decoding import decode
rng = np.random.default_rng(0)
refused = 0
for kind in ('JPEG', 'PNG', 'TIFF', 'WEBP'):
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 60, 3), np.uint8)).save(file, kind)
    for _ in range(100):
        data = bytearray(file.getvalue())
        for at in rng.integers(12, len(data), rng.integers(1, 8)):
            data[at] = rng.integers(256)
        try:
            decode(bytes(data[: rng.integers(len(data) // 2, 2 * len(data))]), 'It')
        except PdlError:
            refused += 1
print(refused > 100)
""",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.stderr) == ('True\n', '')
