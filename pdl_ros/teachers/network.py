"""A teacher's file, made ready to run on this processor."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pdl_ros.errors import PdlError, in_words, require, require_package
from pdl_ros.teachers.description import TeacherDescription

Run = Callable[[np.ndarray], np.ndarray]
"""(1, 3, H, W) float32 -> the first output of a network, float32."""

_GREY = 114  # of what a picture is set into; YOLOX was trained with it
_SUFFIXES = ('.onnx', '.xml', '.pt')
_LOG = logging.getLogger('pdl_ros.teachers')


class Teacher:
    """A network with its description. Raises PdlError where the file cannot be run, or does not
    take and give what the description says.
    """

    def __init__(self, file: Path, description: TeacherDescription) -> None:
        self.description = description
        require_package('openvino', 'teacher')
        require(
            file.suffix in _SUFFIXES,
            f'{file} is no teacher by its name; one ends with {", ".join(_SUFFIXES)} (ONNX, '
            'OpenVINO, TorchScript).',
        )
        require(file.is_file(), f'No file {file}; give the network of a teacher.')
        shape = (1, 3, *description.size)
        try:
            self._run = (_open_torchscript if file.suffix == '.pt' else _open)(file, shape)
            self.output_shape = self._run(np.zeros(shape, np.float32)).shape
        except PdlError:
            raise
        except Exception as error:  # runtimes raise what they like
            raise PdlError(
                f'{file} does not run with pictures of {shape[3]}x{shape[2]} '
                f'({" ".join(in_words(error).split())[:200]}).'
            ) from None

    def scale(self, shape: tuple[int, ...]) -> float:
        """Return what the edges of a picture of a (height, width, ...) are multiplied with."""
        height, width = self.description.size
        return min(height / shape[0], width / shape[1])

    def place(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the (height, width) that a picture of a shape has within the input."""
        scale = self.scale(shape)
        return max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Return the first output for a (H, W, 3) uint8 picture, which is set into the upper left
        corner of the input in its proportions; the rest is grey.
        """
        d = self.description
        height, width = self.place(rgb.shape)
        shrinks = height < rgb.shape[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image: np.ndarray = np.full((*d.size, 3), _GREY, np.uint8)
        image[:height, :width] = cv2.resize(rgb, (width, height), interpolation=method)
        if d.order == 'bgr':
            image = image[..., ::-1]
        values = image.astype(np.float32) * (d.range / 255)
        values = (values - np.array(d.mean, np.float32)) / np.array(d.std, np.float32)
        return self._run(np.ascontiguousarray(values.transpose(2, 0, 1)[None]))


def _open(file: Path, shape: tuple[int, ...]) -> Run:
    from pdl_ros.engines.onnx_sessions import openvino_core

    model = openvino_core().read_model(str(file))
    require(len(model.inputs) == 1, f'{file} has {len(model.inputs)} inputs; a teacher has one.')
    model.reshape(list(shape))
    return _compiled(model)


def _open_torchscript(file: Path, shape: tuple[int, ...]) -> Run:
    """Run TorchScript by OpenVINO, which takes two thirds of PyTorch's time, or else by PyTorch."""
    import openvino
    import torch

    module = torch.jit.load(str(file), map_location='cpu').eval()
    with torch.inference_mode():
        module(torch.zeros(shape))
    try:
        model = openvino.convert_model(
            module, example_input=torch.zeros(shape), input=[list(shape)]
        )
        return _compiled(model)
    except Exception as error:  # what it cannot convert differs from version to version
        _LOG.info('%s is run by PyTorch, OpenVINO does not convert it (%s).', file, in_words(error))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            output = module(torch.from_numpy(images))
        first = output if isinstance(output, torch.Tensor) else output[0]
        return np.asarray(first.float().numpy())

    return run


def _compiled(model: Any) -> Run:
    import torch

    from pdl_ros.engines.onnx_sessions import openvino_core

    settings = {
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_PRECISION_HINT': 'f32',
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
    }
    request = openvino_core().compile_model(model, 'CPU', settings).create_infer_request()
    return lambda images: np.array(request.infer([images])[0], np.float32)
