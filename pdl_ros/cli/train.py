"""`pdl_ros train`: train on labelled images, and score what came of it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdl_ros import __version__
from pdl_ros.cli.options import Data, Device, OutFolder, import_torch, open_dataset
from pdl_ros.errors import require_package

if TYPE_CHECKING:
    from pdl_ros.evaluation import Scores
    from pdl_ros.network.variants import Variant


def train(
    variant: Annotated[str, typer.Argument(help='Variant to train; see `pdl_ros variants`.')],
    data: Data,
    out: Annotated[Path, OutFolder],
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML) of your own data.')
    ] = None,
    backbone_weights: Annotated[str, typer.Option(help='imagenet, none, or a file.')] = 'imagenet',
    steps: Annotated[int | None, typer.Option(help='Optimiser steps in all.')] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    until: Annotated[
        int | None, typer.Option(help='Pause at this step; run again to go on.')
    ] = None,
    device: Device = 'auto',
) -> None:
    """Train on labelled images, then score the averaged weights on the `val` split and save
    them. A run that is in the folder already is resumed.
    """
    require_package('lightning_fabric', 'train')
    from pdl_ros.labels import LabelSet
    from pdl_ros.network.variants import get_variant
    from pdl_ros.training.recipes import recipe

    chosen = get_variant(variant)
    if labels is not None:
        chosen = replace(chosen, label_set=LabelSet.load(labels))
    overrides: dict[str, Any] = {
        'steps': steps,
        'batch_size': batch_size,
        'learning_rate': learning_rate,
    }
    settings = replace(recipe(chosen), **{k: v for k, v in overrides.items() if v is not None})
    start = _start(backbone_weights, chosen)
    training, validation = (open_dataset(data, s, chosen.label_set) for s in ('train', 'val'))
    import_torch()
    from pdl_ros.evaluation.report import print_table, write_json
    from pdl_ros.evaluation.run import evaluate as score
    from pdl_ros.pipeline import Segmenter
    from pdl_ros.training.trainer import Trainer

    trainer = Trainer(chosen, training, settings, out, start, device)
    trainer.run(until)
    weights = trainer.save_weights({'commit': _commit()})
    scores = score(Segmenter.load(weights, device), validation)
    trainer.save_weights({'commit': _commit(), 'scores': _summary(scores)})
    print_table(scores)
    write_json(scores, out / 'scores.json', {'step': trainer.step})
    print(f'Weights: {weights}')


def _start(backbone_weights: str, variant: Variant) -> Path | None:
    """Return the file of weights that the encoder starts from; None: random ones."""
    from pdl_ros.network.weight_files import container_of
    from pdl_ros.training.recipes import imagenet_weights

    if backbone_weights == 'none':
        return None
    if backbone_weights == 'imagenet':
        return imagenet_weights(variant.backbone)
    container_of(Path(backbone_weights))
    return Path(backbone_weights)


def _commit() -> str:
    """The commit of this checkout, for the header of trained weights; unknown in an installed
    package, or without git.
    """
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=40']
    folder = Path(__file__).parent
    try:
        asked = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return f'release {__version__}'
    return asked.stdout.strip() or f'release {__version__}'


def _summary(scores: Scores) -> dict[str, float]:
    return {
        name: round(value, 4)
        for name, value in scores.to_dict().items()
        if isinstance(value, float)
    }
