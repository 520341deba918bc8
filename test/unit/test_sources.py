"""Sources of frames: good ones give RGB frames, bad ones say what is wrong."""

import cv2
import numpy as np
import pytest

from pdl_ros.errors import PdlError
from pdl_ros.sources import open_source


@pytest.fixture
def picture():
    """A smooth RGB picture whose channels cannot be confused."""
    rows, columns = np.mgrid[:48, :64]
    return np.stack([rows * 4, columns * 2, 255 - rows * 5], -1).astype(np.uint8)


@pytest.fixture
def video(tmp_path, picture):
    """A video of 12 frames at 20 Hz; frame i is the picture, with i bright columns on the left."""
    path = tmp_path / 'drive.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 20.0, (64, 48))
    for index in range(12):
        frame = picture.copy()
        frame[:, : 4 * index] = 255
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def test_a_video_gives_its_frames_in_order_as_rgb_with_its_rate_and_length(video, picture):
    source = open_source(str(video))
    frames = list(source)
    assert (source.name, source.fps, source.length, len(frames)) == ('drive.mp4', 20.0, 12, 12)
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    assert np.abs(frames[0].astype(int) - picture).mean() < 8
    bright = [int((frame.min(-1) > 200).mean(0).round().sum()) for frame in frames]
    assert bright == sorted(bright)
    assert bright[-1] > 36


def test_a_source_can_be_played_again_from_the_start(video):
    source = open_source(str(video))
    first = next(iter(source))
    assert len(list(source)) == 12
    np.testing.assert_array_equal(next(iter(source)), first)


def test_an_image_is_a_source_of_one_frame(tmp_path, picture):
    cv2.imwrite(str(tmp_path / 'a.PNG'), picture[..., ::-1])
    source = open_source(str(tmp_path / 'a.PNG'))
    assert source.length == 1
    for _ in range(2):
        (frame,) = source
        np.testing.assert_array_equal(frame, picture)


def test_a_folder_gives_its_images_in_name_order_and_leaves_other_files_alone(tmp_path, picture):
    for value, name in ((20, 'b.png'), (10, 'a.png'), (30, 'c.bmp')):
        cv2.imwrite(str(tmp_path / name), np.full_like(picture, value))
    (tmp_path / 'notes.txt').write_text('not an image')
    source = open_source(str(tmp_path))
    assert source.length == 3
    assert [frame[0, 0, 0] for frame in source] == [10, 20, 30]


def test_hidden_files_beside_pictures_are_no_frames(tmp_path, picture):
    cv2.imwrite(str(tmp_path / 'a.png'), picture)
    for name in ('._a.png', '.DS_Store', 'Thumbs.db'):
        (tmp_path / name).write_bytes(b'\0\x05\x16\x07')
    source = open_source(str(tmp_path))
    assert source.length == len(list(source)) == 1


def test_a_missing_file_is_named():
    with pytest.raises(PdlError, match=r'No file or folder .*nowhere/drive\.mp4'):
        open_source('nowhere/drive.mp4')


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PdlError, match='holds no images'):
        open_source(str(tmp_path))


@pytest.mark.parametrize('suffix', ['.mp4', '.avi', '.xyz', ''])
def test_a_file_that_is_no_video_is_refused_when_opened(tmp_path, suffix):
    path = tmp_path / f'drive{suffix}'
    path.write_bytes(b'this is not a video' * 50)
    with pytest.raises(PdlError, match='cannot be read as a video'):
        open_source(str(path))


def test_a_video_without_its_end_is_refused_when_opened(video):
    video.write_bytes(video.read_bytes()[:-200])
    with pytest.raises(PdlError, match='cannot be read'):
        open_source(str(video))


def test_a_video_that_stops_early_is_not_passed_off_as_a_whole_one(tmp_path, picture):
    path = tmp_path / 'drive.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 20.0, (64, 48))
    for _ in range(40):
        writer.write(picture)
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = []
    with pytest.raises(PdlError, match=r'ends after \d+ of 40 frames'):
        frames.extend(frame for frame in open_source(str(path)))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.bmp', '.webp', '.tif'])
@pytest.mark.parametrize('keep', [0.0, 0.3, 0.7])
def test_a_cut_off_image_is_refused_and_not_filled_up_with_grey(tmp_path, picture, suffix, keep):
    noisy = picture ^ np.random.default_rng(0).integers(0, 64, picture.shape, np.uint8)
    data = cv2.imencode(suffix, noisy)[1].tobytes()
    path = tmp_path / f'image{suffix}'
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(PdlError, match=f'image{suffix}'):
        open_source(str(path))
    with pytest.raises(PdlError, match=f'image{suffix}'):
        list(open_source(str(tmp_path)))


def test_a_cut_jpeg_is_found_although_its_thumbnail_is_whole(tmp_path, picture):
    data = cv2.imencode('.jpg', picture)[1].tobytes()
    extra = b'Exif' + data
    headed = data[:2] + b'\xff\xe1' + (len(extra) + 2).to_bytes(2, 'big') + extra + data[2:]
    whole, cut = tmp_path / 'whole.jpg', tmp_path / 'cut.jpg'
    whole.write_bytes(headed)
    cut.write_bytes(headed[:-300])
    assert open_source(str(whole)).length == 1
    with pytest.raises(PdlError, match='image file is truncated'):
        open_source(str(cut))
