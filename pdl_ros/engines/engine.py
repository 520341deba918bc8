"""What an engine is, and what a user can ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pdl_ros.errors import require

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdl_ros.network.heads import HeadOutputs

ENGINES = ('auto', 'torch', 'openvino', 'onnxruntime', 'onnx', 'tensorrt')
PRECISIONS = ('auto', 'fp32', 'bf16', 'fp16', 'int8')


class Engine(Protocol):
    """A network made ready for a device.

    Call it with normalised images (N, 3, H, W) float32 on `device`; the head outputs are float32 on
    the same device, and valid until the next call. `name` and `precision` say what really runs.
    """

    @property
    def name(self) -> str:
        """What runs the network."""
        ...

    @property
    def precision(self) -> str:
        """One of `PRECISIONS`."""
        ...

    @property
    def device(self) -> torch.device:
        """Where images and heads are."""
        ...

    def __call__(self, images: Tensor) -> HeadOutputs:
        """Run the network."""
        ...

    def release(self) -> None:
        """Give back weights and buffers; the engine cannot be used after it."""
        ...


@dataclass(frozen=True)
class EngineSettings:
    """How the network is to be executed.

    engine: one of `ENGINES`, onnx being openvino on a CPU where it is installed, else onnxruntime;
    precision: one of `PRECISIONS`; auto is what is fastest here among those that give the published
    label maps (docs/engines.md). fallback: when the engine cannot be had, warn and run on PyTorch
    instead of failing. background: run on PyTorch while a TensorRT engine builds. frame_size: the
    (height, width) of the frames that are expected, None: the variant's usual ones; a TensorRT
    engine that was exported for their size alone is taken before the one for all sizes. batch: its
    most images at a time. checkpoint: the file of the weights, beside which lie its network in int8
    and what was measured of engines.
    """

    engine: str = 'auto'
    precision: str = 'auto'
    fallback: bool = False
    background: bool = False
    frame_size: tuple[int, int] | None = None
    batch: int = 1
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        for what, value, choices in (
            ('engine', self.engine, ENGINES),
            ('precision', self.precision, PRECISIONS),
        ):
            require(value in choices, f'The {what} is {value!r}; it can be {" or ".join(choices)}.')
