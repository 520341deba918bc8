"""A malformed image or a wrong setting costs a sentence; the node goes on, or waits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from pdl_ros.errors import PdlError
from pdl_ros.imaging.raw import to_rgb
from pdl_ros.node.parameters import TABLE

from .harness import running
from .test_topics import message_of, pixels_of

DEFAULTS = {row.name: row.default for row in TABLE}
GOOD = {'height': 8, 'width': 8, 'encoding': 'rgb8', 'step': 24}
MALFORMED = {
    "Encoding 'yuv999' is not supported; supported are: rgb8, bgr8, rgba8, bgra8, mono8": Image(
        **{**GOOD, 'encoding': 'yuv999'}, data=bytes(192)
    ),
    'The image is empty (0x0)': Image(**{**GOOD, 'height': 0, 'width': 0, 'step': 0}),
    'a step of 20 bytes, but a row of 8 rgb8 pixels takes 24': Image(
        **{**GOOD, 'step': 20}, data=bytes(192)
    ),
    'holds 100 bytes, but 8x8 rgb8 with step 24 takes 192': Image(**GOOD, data=bytes(100)),
    'holds 10 bytes, but 8000x8000': Image(
        **{**GOOD, 'height': 8000, 'width': 8000, 'step': 24_000}, data=bytes(10)
    ),
    'says that it is 4000000x4000000; it must have 1 to': Image(
        **{**GOOD, 'height': 4_000_000, 'width': 4_000_000, 'step': 12_000_000}, data=bytes(10)
    ),
}


@pytest.mark.parametrize('sentence', MALFORMED)
def test_each_kind_of_malformed_image_is_refused_in_one_sentence(sentence: str) -> None:
    with pytest.raises(PdlError) as error:
        to_rgb(MALFORMED[sentence])
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)


def test_an_image_whose_last_row_lacks_its_padding_is_still_an_image(rgb: np.ndarray) -> None:
    image = message_of(rgb, 'rgb8', Header(), padding=5)
    image.data = image.data[:-5]
    np.testing.assert_array_equal(to_rgb(image), rgb)


def test_after_every_malformed_frame_the_next_good_one_is_segmented(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running(parameters, tmp_path / 'log.txt', domain) as node:
        node.listen('panoptic/image', 'timing')
        good = []
        for count, (sentence, image) in enumerate(MALFORMED.items(), 1):
            image.header = node.header()
            node.camera.publish(image)
            node.spin(0.2)  # let the node take it before the good one replaces it
            good.append(node.header())
            outputs = node.send(message_of(rgb, 'rgb8', good[-1]))
            assert pixels_of(outputs['panoptic/image']).shape == rgb.shape[:2], sentence
            assert outputs['timing'].frames_dropped == count, sentence
        assert [m.header for m in node.received['panoptic/image']] == good
        assert "/image: frame skipped: Encoding 'yuv999' is not supported" in node.log()
        assert 'Traceback' not in node.log()


WRONG_FROM_THE_START = {
    "holds weights of variant 'scene_tiny', not of 'camvid_efficientnet_lite0'": {
        'variant': 'camvid_efficientnet_lite0'
    },
    'Parameter overlay_alpha is 1.5; it must be a number with a point from 0.0 to 1.0': {
        'overlay_alpha': 1.5
    },
    "Parameter top_k is 'many'; it must be an integer from -1 to 65535": {'top_k': 'many'},
}


def test_an_engine_that_cannot_be_had_is_replaced_and_the_log_and_diagnostics_say_so(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'engine': 'tensorrt'}, tmp_path / 'log.txt', domain) as node:
        node.listen('panoptic/image')
        node.send(message_of(rgb, 'rgb8', node.header()))
        assert 'TensorRT needs a CUDA device' in node.log()
        assert 'on cpu by torch in' in node.log()
    strict = {**parameters, 'engine': 'tensorrt', 'engine_fallback': False, 'autostart': False}
    with running(strict, tmp_path / 'strict.txt', domain) as node:
        node.fails = True
        assert not node.transition('configure')
        assert node.state() == 'unconfigured'
        assert 'TensorRT needs a CUDA device' in node.log()
        assert 'Traceback' not in node.log()


@pytest.mark.parametrize('sentence', WRONG_FROM_THE_START)
def test_a_wrong_setting_is_one_sentence_and_the_node_waits_to_be_set_right(
    parameters: dict[str, Any], tmp_path: Path, domain: int, sentence: str, rgb: np.ndarray
) -> None:
    wrong = WRONG_FROM_THE_START[sentence]
    with running({**parameters, **wrong}, tmp_path / 'log.txt', domain) as node:
        node.fails = True
        node.wait_for_log('Not started.', 120)
        assert sentence in node.log()
        assert 'Traceback' not in node.log()
        assert node.log().count('[ERROR]') == 2, 'the sentence, and what to do'
        assert node.state() == 'unconfigured'
        assert node.set_parameters(**{n: parameters.get(n, DEFAULTS[n]) for n in wrong}) == ['']
        assert node.transition('configure')
        assert node.transition('activate')
        node.listen('panoptic/image')
        assert node.send(message_of(rgb, 'rgb8', node.header()))


WRONG = {
    "No variant 'yolo'; there are: street_efficientnet_lite0": {'variant': 'yolo'},
    "No weights '/nowhere/model.safetensors'": {'weights': '/nowhere/model.safetensors'},
    'is not a file of weights': {'weights': __file__},
    "No device 'tpu9'": {'device': 'tpu9'},
}
REFUSED = {
    "Parameter image_qos is 'best'; it can be sensor_data or reliable or auto": {
        'image_qos': 'best'
    },
    'nms_kernel is 4; it must be odd': {'nms_kernel': 4},
    'rotate is 45; it can be 0, 90, 180 or 270': {'rotate': 45},
    "output_size is 'huge'": {'output_size': 'huge'},
    'Parameter cameras names one twice: a': {'cameras': ['a', 'a']},
}


def test_no_wrong_value_stops_a_node_that_is_being_set_up(
    parameters: dict[str, Any], tmp_path: Path, domain: int, rgb: np.ndarray
) -> None:
    with running({**parameters, 'autostart': False}, tmp_path / 'log.txt', domain) as node:
        node.fails = True
        for sentence, wrong in REFUSED.items():
            assert sentence in node.set_parameters(**wrong)[0]
        for sentence, wrong in WRONG.items():
            assert node.set_parameters(**wrong) == ['']
            assert not node.transition('configure')
            node.wait_for_log(sentence)
            assert node.state() == 'unconfigured'
            (name,) = wrong
            assert node.set_parameters(**{name: str(parameters[name])}) == ['']
        assert node.log().count('[ERROR]') == len(WRONG)
        assert 'Traceback' not in node.log()
        assert node.transition('configure')
