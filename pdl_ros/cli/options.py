"""Options that several commands share, and what they open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.errors import PdlError
from pdl_ros.runtime import precompile
from pdl_ros.runtime.files import require_writable_file, require_writable_folder

if TYPE_CHECKING:
    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter

DEFAULT_VARIANT = 'camvid_efficientnet_lite0'

Weights = Annotated[str, typer.Option(help='Name of a shipped variant, or a checkpoint file.')]
Device = Annotated[str, typer.Option(help='auto, cpu, cuda or cuda:N.')]
Scales = Annotated[
    str, typer.Option(help='Average over these scales, such as 0.5,1,2; paper: its seven.')
]
EngineName = Annotated[str, typer.Option(help='auto, torch, onnx or tensorrt.')]
Precision = Annotated[str, typer.Option(help='auto, fp32, bf16, fp16 or int8.')]
Flip = Annotated[bool, typer.Option(help='Average with the mirror image.')]
Data = Annotated[
    str,
    typer.Option(
        help='Folder with images/<split>/ and panoptic/<split>/; "scene" for drawn streets.'
    ),
]


def _writable_file(path: Path | None) -> Path | None:
    if path is not None:
        require_writable_file(path)
    return path


def _writable_folder(path: Path) -> Path:
    require_writable_folder(path)
    return path


# Found impossible before the work begins.
OutFolder = typer.Option('--out', '-o', callback=_writable_folder, help='Folder for the results.')
OutFile = typer.Option('--out', '-o', callback=_writable_file, help='The file to write.')
JsonFile = Annotated[
    Path | None,
    typer.Option('--json', callback=_writable_file, help='Also write the results here.'),
]


def open_segmenter(
    weights: str, device: str, scales: str, flip: bool, engine: str, precision: str
) -> Segmenter:
    """Load a network and set its test-time augmentation."""
    precompile.start()
    from pdl_ros.engines import EngineSettings
    from pdl_ros.fusion.averaging import PAPER_SCALES, InferenceAugmentation
    from pdl_ros.pipeline import Segmenter

    try:
        factors = PAPER_SCALES if scales == 'paper' else tuple(float(s) for s in scales.split(','))
    except ValueError:
        raise PdlError(
            f'--scales is {scales!r}; give numbers with commas, such as 0.5,1,2.'
        ) from None
    segmenter = Segmenter.load(weights, device, engine=EngineSettings(engine, precision))
    if flip or factors != (1.0,):
        segmenter.augmentation = InferenceAugmentation(factors, flip)
    return segmenter


def open_dataset(data: str, split: str, label_set: LabelSet) -> PanopticDataset:
    """Open a folder of labelled images, or `scene`, the drawn streets."""
    if data == 'scene':
        from pdl_ros.demo.scene import SceneDataset

        return (
            SceneDataset(400, 160, 256)
            if split == 'train'
            else SceneDataset(30, 160, 256, first_seed=10_000)
        )
    from pdl_ros.datasets.label_folder import LabelFolder

    return LabelFolder(data, split, label_set)
