"""`pdl_ros export ... --calibrate`: the frames it takes, and what becomes of an older file."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from pdl_ros import engines, preprocessing, sources
from pdl_ros.bench import agreement as bench_agreement
from pdl_ros.bench import machine
from pdl_ros.cli.export import openvino, spread, tensorrt
from pdl_ros.engines import factory, tensorrt_plans
from pdl_ros.engines.agreement import Agreement, keep_agreement, read_agreement
from pdl_ros.engines.factory import open_engine
from pdl_ros.engines.quantised import note_facts, quantised_file, read_quantised
from pdl_ros.engines.tensorrt_plans import weights_digest
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import quantisation
from pdl_ros.evaluation.quantisation import Quantised
from pdl_ros.network.weight_files import find_weights
from pdl_ros.runtime.cpu_features import X86
from pdl_ros.sources import Source

from .test_int8 import all_in_int8, scenes, tiny


def recording(length: int | None) -> Source:
    """Frames that show their number, without end where there is no length."""
    numbers = itertools.count() if length is None else range(length)
    return Source('drive', 10, length, lambda: (np.full((1, 1, 3), i) for i in numbers))


@pytest.mark.parametrize('length', [1, 95, 96, 97, 190, 191, 192, 1000])
def test_frames_to_calibrate_with_are_spread_over_a_whole_recording(length):
    numbers = [int(frame[0, 0, 0]) for frame in spread(recording(length), 96)]
    assert len(numbers) == min(length, 96)
    gaps = np.diff([*numbers, length])
    assert numbers[0] == 0 and gaps.max() - gaps.min() <= 1


def test_a_stream_without_end_gives_its_first_frames():
    assert [int(frame[0, 0, 0]) for frame in spread(recording(None), 3)] == [0, 1, 2]


def test_tensorrt_is_calibrated_on_the_whole_of_a_drive(monkeypatch):
    seen: list[int] = []

    def opened(network, variant, device, precision, shapes, stop, calibration):
        seen.extend(int(image[0, 0, 0, 0]) for image in calibration)
        return Mock()

    monkeypatch.setattr(engines, 'pick_device', torch.device)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(250))
    monkeypatch.setattr(tensorrt_plans, 'open_tensorrt', opened)
    monkeypatch.setattr(preprocessing, 'Preprocessor', lambda *_: lambda frame, size: frame[None])
    tensorrt('scene_tiny', 'int8', None, None, 1, 'drive.mcap', 'cuda')
    assert len(seen) == 100 and seen[-1] == 247


def test_data_that_are_not_there_are_missed_before_the_minutes_of_quantising(monkeypatch, tmp_path):
    monkeypatch.setattr(quantisation, 'quantise_network', None)
    with pytest.raises(PdlError, match=r'No folder .*nosuch'):
        openvino('scene_tiny', str(Path(__file__).parent), 'int8', tmp_path / 'nosuch', None)


def test_labels_that_do_not_fit_are_missed_before_the_minutes_of_quantising(monkeypatch, tmp_path):
    monkeypatch.setattr(quantisation, 'quantise_network', None)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(3))
    for kind in ('images', 'panoptic'):
        (tmp_path / kind / 'val').mkdir(parents=True)
        two_things = np.array([[1, 2]], np.uint16)  # of class 0
        assert cv2.imwrite(str(tmp_path / kind / 'val' / 'a.png'), two_things)
    with pytest.raises(PdlError, match='2 things of class 0 apart, which is stuff'):
        openvino('scene_tiny', 'drive.mcap', 'int8', tmp_path, tmp_path / 'new.onnx')


# --- a new file in the place of an older one ------------------------------------------------------

BF16 = Agreement('torch', 'bf16', 'amx', 0.98, None)
OLDER = [
    Agreement(engine, 'int8', isa, 1.0, None)
    for engine, isa in itertools.product(('openvino', 'onnxruntime'), X86)
]


@pytest.fixture
def checkpoint(monkeypatch, tmp_path) -> Path:
    """A checkpoint whose int8 file met the mark everywhere; to make another one takes no time."""
    path = tmp_path / 'ours.safetensors'
    shutil.copy(find_weights('scene_tiny'), path)
    weights = weights_digest(tiny()[0])
    keep_agreement(path, weights, [BF16, *OLDER])
    quantised_file(path).write_bytes(b'the older one')
    made = Quantised(note_facts(all_in_int8(), weights, {}), 9, 0, tuple(scenes(2, first=60)))
    monkeypatch.setattr(quantisation, 'quantise_network', lambda *_: made)
    monkeypatch.setattr(sources, 'open_source', lambda name: recording(3))
    monkeypatch.setattr(machine, 'possible_engines', lambda names: names)
    return path


def rows_of(checkpoint: Path) -> set[Agreement]:
    return set(read_agreement(checkpoint, weights_digest(tiny()[0])))


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_: object) -> Any:
        raise error

    return failing


def test_a_new_int8_file_is_not_trusted_by_what_the_older_one_gave_on_any_processor(
    checkpoint, monkeypatch, capsys
):
    """And a runtime that fails does not keep the other one from being measured."""

    def opened(network, variant, device, settings):
        if settings.engine == 'openvino':
            raise PdlError('It does not run here.')
        return open_engine(network, variant, device, settings)

    monkeypatch.setattr(factory, 'open_engine', opened)
    openvino(str(checkpoint), 'drive.mcap', 'int8', None, None)
    (measured,) = rows_of(checkpoint) - {BF16}
    assert BF16 in rows_of(checkpoint) and measured not in OLDER
    assert (measured.engine, measured.precision) == ('onnxruntime', 'int8')
    assert measured.frames == '2 frames of drive.mcap'
    said = capsys.readouterr().out
    assert 'openvino int8: not compared: It does not run here.' in said
    assert 'onnxruntime int8 on ' in said


@pytest.mark.parametrize('error', [KeyboardInterrupt(), PdlError('Its labels are damaged.')])
@pytest.mark.parametrize('out', [None, 'link.onnx'], ids=['beside', 'by another name'])
def test_who_interrupts_the_measuring_has_an_int8_file_that_auto_does_not_take(
    checkpoint, monkeypatch, error, out
):
    if out is not None:
        out = checkpoint.with_name(out)
        out.symlink_to(quantised_file(checkpoint))
    monkeypatch.setattr(bench_agreement, 'bench_agreement', fail(error))
    with pytest.raises(type(error)):
        openvino(str(checkpoint), 'drive.mcap', 'int8', Path('scene'), out)
    assert read_quantised(checkpoint, weights_digest(tiny()[0]))
    assert rows_of(checkpoint) == {BF16}


def test_what_ends_before_the_new_int8_file_leaves_the_older_one_and_what_it_gave(
    checkpoint, monkeypatch
):
    monkeypatch.setattr(quantisation, 'quantise_network', fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        openvino(str(checkpoint), 'drive.mcap', 'int8', None, None)
    assert quantised_file(checkpoint).read_bytes() == b'the older one'
    assert rows_of(checkpoint) == {BF16, *OLDER}
