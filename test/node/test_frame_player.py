"""The arguments of the demo's camera."""

import re

import pytest

from pdl_ros.demo.frame_player import main


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['clip', 'fast'], "argument rate: invalid .* value: 'fast'"),
        (['clip', '-1'], 'argument'),
        (['clip', '10', 'many'], "argument frames: invalid int value: 'many'"),
        (['nowhere/drive.mp4'], 'No file or folder .*drive.mp4'),
    ],
)
def test_a_wrong_argument_of_the_camera_is_a_sentence_and_status_2(
    words, said, monkeypatch, capsys
):
    monkeypatch.setattr('sys.argv', ['demo_camera', *words, '--ros-args', '-r', '__ns:=/a'])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert 'Traceback' not in error
    assert re.search(said, error), error
