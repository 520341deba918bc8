"""Options that several commands share, and what they open.

Each option checks its value itself, without PyTorch, whose import takes seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.augmentation import PAPER_SCALES, InferenceAugmentation
from pdl_ros.engines import ENGINES, PRECISIONS, EngineSettings
from pdl_ros.engines.devices import check_device_name
from pdl_ros.errors import PdlError, require
from pdl_ros.runtime import precompile
from pdl_ros.runtime.files import require_writable_file, require_writable_folder
from pdl_ros.runtime.imports import slow_import

if TYPE_CHECKING:
    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter

MIXTURE = ('.yaml', '.yml')  # the endings of a file that lists several data sets


def check_weights(name: str) -> str:
    """Return the name; raise PdlError where there are no weights, as far as a few bytes tell."""
    from pdl_ros.network.weight_files import container_of, find_weights

    container_of(find_weights(name))
    return name


def _engine(name: str) -> str:
    return EngineSettings(engine=name).engine


def _precision(name: str) -> str:
    return EngineSettings(precision=name).precision


def _scales(scales: str) -> str:
    augmentation(scales, flip=False)
    return scales


def writable_file(path: Path | None) -> Path | None:
    if path is not None:
        require_writable_file(path)
    return path


def _writable_folder(path: Path) -> Path:
    require_writable_folder(path)
    return path


WeightsFile = Annotated[
    str, typer.Argument(callback=check_weights, help='A shipped variant, or a checkpoint file.')
]
Weights = Annotated[
    str,
    typer.Option(callback=check_weights, help='Name of a shipped variant, or a checkpoint file.'),
]
Device = Annotated[str, typer.Option(callback=check_device_name, help='auto, cpu, cuda or cuda:N.')]
Scales = Annotated[
    str,
    typer.Option(
        callback=_scales, help='Average over these scales, such as 0.5,1,2; paper: its seven.'
    ),
]
EngineName = Annotated[
    str, typer.Option(callback=_engine, help=f'{", ".join(ENGINES[:-1])} or {ENGINES[-1]}.')
]
Precision = Annotated[
    str,
    typer.Option(callback=_precision, help=f'{", ".join(PRECISIONS[:-1])} or {PRECISIONS[-1]}.'),
]
Flip = Annotated[bool, typer.Option(help='Average with the mirror image.')]
Data = Annotated[
    str,
    typer.Option(
        help='Folder of a data set, or the YAML of a mixture of several (docs/partial_labels.md); '
        '"scene" for drawn streets.'
    ),
]
OutFolder = typer.Option('--out', '-o', callback=_writable_folder, help='Folder for the results.')
OutFile = typer.Option('--out', '-o', callback=writable_file, help='The file to write.')
RerunFile = Annotated[
    Path | None,
    typer.Option('--rerun', callback=writable_file, help="Also write a file for Rerun's viewer."),
]
JsonFile = Annotated[
    Path | None,
    typer.Option('--json', callback=writable_file, help='Also write the results here.'),
]


def augmentation(scales: str, flip: bool) -> InferenceAugmentation | None:
    """Return the test-time augmentation that was asked for; None: none."""
    try:
        factors = PAPER_SCALES if scales == 'paper' else tuple(float(s) for s in scales.split(','))
    except ValueError:
        raise PdlError(
            f'--scales is {scales!r}; give numbers with commas, such as 0.5,1,2.'
        ) from None
    return InferenceAugmentation(factors, flip) if flip or factors != (1.0,) else None


def import_torch() -> None:
    """Import PyTorch, and say so where that takes long; after all checks that need none."""
    with slow_import('PyTorch'):
        import torch  # noqa: F401


def open_segmenter(
    weights: str, device: str, scales: str, flip: bool, engine: str, precision: str
) -> Segmenter:
    """Load a network and set its test-time augmentation."""
    precompile.start()
    import_torch()
    from pdl_ros.pipeline import Segmenter

    segmenter = Segmenter.load(weights, device, engine=EngineSettings(engine, precision))
    segmenter.augmentation = augmentation(scales, flip)
    return segmenter


def require_dataset(data: str, split: str) -> None:
    """Raise PdlError where `open_dataset` would find nothing; needs no label set."""
    if data.endswith(MIXTURE):
        from pdl_ros.datasets.mixture_file import read_mixture

        read_mixture(Path(data))
    elif data != 'scene':
        from pdl_ros.datasets.layouts import find_split

        find_split(Path(data), split)


def open_dataset(
    data: str, split: str, label_set: LabelSet, scored: bool = False
) -> PanopticDataset:
    """Open a folder of labelled images of any known layout, a mixture of several, or `scene`, the
    drawn streets. scored: each picture once; else a mixture is as a training draws it.

    Raises PdlError where files are missing, or the label set does not fit.
    """
    if data == 'scene':
        from pdl_ros.demo.scene import SceneDataset

        scene = (
            SceneDataset(400, 160, 256)
            if split == 'train'
            else SceneDataset(30, 160, 256, first_seed=10_000)
        )
        _require_classes(data, scene, label_set)
        return scene
    if data.endswith(MIXTURE):
        from pdl_ros.datasets.mixture import open_mixture

        mixture = open_mixture(Path(data), split, scored)
        _require_classes(data, mixture, label_set)
        return mixture
    from pdl_ros.datasets import layouts

    return layouts.open_dataset(Path(data), split, label_set)


def _require_classes(data: str, dataset: PanopticDataset, label_set: LabelSet) -> None:
    require(
        dataset.label_set == label_set,
        f'{data} is in the classes of label set {dataset.label_set.name!r}, the network in those '
        f'of {label_set.name!r}; here they must be the same.',
    )


def label_set_of(folder: Path, labels: str | None) -> LabelSet:
    """Return the label set that was asked for or, with None, the one that the data bring along, a
    folder or a mixture.

    Raises PdlError where they hold numbers only.
    """
    from pdl_ros.datasets.mixture_file import read_mixture
    from pdl_ros.datasets.own_labels import find_label_set
    from pdl_ros.labels import LabelSet

    if labels is None and folder.suffix in MIXTURE:
        return read_mixture(folder)[0]
    found = find_label_set(folder) if labels is None else LabelSet.load(labels)
    if found is None:
        raise PdlError(
            f'The labels of {folder} are numbers without names; give their label set with '
            '--labels, or keep it there as labels.yaml.'
        )
    return found
