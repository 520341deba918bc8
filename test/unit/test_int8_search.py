"""Which layers stay fp32 beside int8: what hurts most for its work, until the mark is met."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdl_ros.engines.calibration import Calibration, Layer
from pdl_ros.engines.sensitivity import Sensitivity, measure_sensitivity, narrow
from pdl_ros.engines.tensorrt_plans import weights_digest
from pdl_ros.errors import PdlError
from pdl_ros.evaluation import quantisation
from pdl_ros.evaluation.quantisation import quantise_network
from pdl_ros.preprocessing import Preprocessor

from .test_int8 import SIZE, calibration, scenes, tiny


def layer(name: str, work: float) -> Layer:
    return Layer(name, work, False, 9)


class Names:
    """A calibration whose networks are the names of their int8 layers."""

    def quantised(self, layers) -> bytes:
        return ' '.join(sorted(layers)).encode()


def test_what_hurts_most_for_its_work_stays_wide_until_the_mark_is_met():
    measured = [
        Sensitivity(layer('cheap and bad', 1), 8.0),
        Sensitivity(layer('dear and bad', 100), 7.0),
        Sensitivity(layer('good', 10), 0.1),
    ]

    def judge(model: bytes) -> list[float]:
        return [0.9 if b'cheap' in model else 0.999] * 3

    found = narrow(Names(), measured, 0.995, judge, lambda *_: None)
    assert found.wide == ('cheap and bad',)
    assert found.model == b'dear and bad good'
    assert found.equal_pixels == pytest.approx(0.999)


@given(st.integers(0, 40), st.data())
def test_no_more_layers_stay_wide_than_the_mark_asks_for(layers, data):
    least = data.draw(st.integers(0, layers))
    measured = [Sensitivity(layer(f'{i:02}', 1), layers - i) for i in range(layers)]
    judged = []

    def judge(model: bytes) -> list[float]:
        judged.append(layers - len(model.split()))
        return [0.99 + (judged[-1] >= least) * 0.005]

    found = narrow(Names(), measured, 0.995, judge, lambda *_: None)
    assert found.wide == tuple(f'{i:02}' for i in range(least))
    assert len(judged) <= (layers + 1).bit_length() and len(set(judged)) == len(judged)


def test_where_nothing_meets_the_mark_the_best_is_returned():
    measured = [Sensitivity(layer(name, 1), 1.0) for name in 'abc']
    found = narrow(Names(), measured, 0.999, lambda m: [0.9 - 0.1 * len(m)], lambda *_: None)
    assert found.equal_pixels == pytest.approx(0.9 - 0.1 * len(found.model))
    assert len(found.wide) > 1


def test_a_layer_is_as_sensitive_as_the_heads_move_when_it_alone_is_rounded():
    whole = calibration()
    few = Calibration.__new__(Calibration)
    few.__dict__.update(whole.__dict__)
    few.layers = [whole.layers[0], whole.layers[-1]]
    _, variant = tiny()
    images = [Preprocessor(variant, torch.device('cpu'))(scenes(1, first=7)[0], SIZE)]
    told = []
    found = measure_sensitivity(few, images, lambda *said: told.append(said[1:]))
    assert [s.layer for s in found] == few.layers
    assert all(0 < s.error < 1 for s in found)
    assert told == [(0, 2), (1, 2)]
    again = measure_sensitivity(few, images, lambda *_: None)
    assert again == found  # the same file every time


def test_quantising_keeps_apart_frames_to_calibrate_to_choose_and_to_tell(monkeypatch):
    network, variant = tiny()
    monkeypatch.setattr(
        quantisation,
        'measure_sensitivity',
        lambda calibration, *_: [Sensitivity(one, 1e-6) for one in calibration.layers],
    )
    monkeypatch.setattr(quantisation, 'LEAST_EQUAL_PIXELS', -1.0)  # all in int8
    frames = scenes(6, first=0)
    found = quantise_network(network, variant, frames, lambda *_: None)
    assert all(np.array_equal(a, b) for a, b in zip(found.held_out, frames[2::3], strict=True))
    noted = {e.key: e.value for e in onnx.load_from_string(found.model).metadata_props}
    assert noted['weights'] == weights_digest(network)
    assert noted['calibration'].startswith('2 frames')
    with pytest.raises(PdlError, match=r'at least 3 frames .* and there are 2; give more'):
        quantise_network(network, variant, frames[:2], lambda *_: None)
