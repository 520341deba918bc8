"""`pdl_ros train`: train on labelled images, and score what comes of it."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdl_ros import __version__
from pdl_ros.cli.options import (
    MIXTURE,
    Data,
    Device,
    OutFolder,
    check_weights,
    import_torch,
    open_dataset,
)
from pdl_ros.errors import PdlError, printable, require, require_package
from pdl_ros.runtime.files import write_json

if TYPE_CHECKING:
    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.labels import LabelSet
    from pdl_ros.network.variants import Variant
    from pdl_ros.pipeline import Segmenter
    from pdl_ros.training.settings import TrainSettings
    from pdl_ros.training.tensorboard import TensorBoard


_LOG = logging.getLogger('pdl_ros.cli')
_LOOKED_AT = 1000  # pictures among which those are found that are known worst


def train(
    variant: Annotated[str, typer.Argument(help='Variant to train; see `pdl_ros variants`.')],
    data: Data,
    out: Annotated[Path, OutFolder],
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML); default: that of the data.')
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A shipped recipe, or a YAML file; default: the variant's.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option('--set', help='A value of the recipe, such as optimizer.lr=2e-3; repeatable.'),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help='Begin with these weights: a shipped variant, or a checkpoint file.'),
    ] = None,
    backbone_weights: Annotated[
        str, typer.Option(help='imagenet, none, or a file; without --start.')
    ] = 'imagenet',
    steps: Annotated[int | None, typer.Option(help='Optimiser steps in all.')] = None,
    batch_size: Annotated[int | None, typer.Option(help='Crops a step, on all devices.')] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    precision: Annotated[str | None, typer.Option(help='fp32, bf16 or fp16.')] = None,
    until: Annotated[
        int | None, typer.Option(min=1, help='Pause at this step; run again to go on.')
    ] = None,
    val_split: Annotated[str, typer.Option(help='Split to score on, or none.')] = 'val',
    evaluate_steps: Annotated[
        int, typer.Option(help='Score after so many steps; 0: at the end only.')
    ] = 0,
    patience: Annotated[
        int, typer.Option(help='Stop after so many scorings without a better PQ; 0: never.')
    ] = 0,
    device: Device = 'auto',
    devices: Annotated[int, typer.Option(help='GPUs, or processes on a CPU.')] = 1,
    nodes: Annotated[int, typer.Option(help='Machines; see docs/training.md.')] = 1,
    workers: Annotated[
        int | None, typer.Option(help='Processes a device that prepare crops; default: by cores.')
    ] = None,
    save_seconds: Annotated[float, typer.Option(help='Most time that a crash may cost.')] = 120.0,
    report: Annotated[
        bool, typer.Option(help='Write report.html in the end: curves, scores, worst pictures.')
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option(help='Write curves and pictures for TensorBoard to OUT/tensorboard.')
    ] = False,
) -> None:
    """Train on labelled images, then score the averaged weights and save them. A run that is in the
    folder already is resumed; Ctrl-C loses nothing.
    """
    require_package('lightning_fabric', 'train')
    if report:
        require_package('matplotlib', 'train')
    if tensorboard:
        require_package('tensorboard', 'tensorboard')
    from pdl_ros.training.settings import RunSettings

    chosen = variant_with(variant, labels, data)
    shorthands = {
        'steps': steps,
        'batch_size': batch_size,
        'optimizer.lr': learning_rate,
        'precision': precision,
    }
    changes = [*(change or ()), *(f'{k}={v}' for k, v in shorthands.items() if v is not None)]
    settings = open_recipe(recipe, chosen, changes)
    run = RunSettings(
        device,
        devices,
        nodes,
        workers,
        save_seconds=save_seconds,
        evaluate_steps=evaluate_steps,
        patience=patience,
    )
    encoder = _encoder_weights(backbone_weights, start, chosen)
    training = open_dataset(data, 'train', chosen.label_set)
    validation = _validation(data, val_split, chosen.label_set)
    require(
        validation is not None or evaluate_steps == 0,
        '--evaluate-steps needs images to score on; give their split with --val-split.',
    )
    commit = _commit()
    import_torch()
    from pdl_ros.training.tensorboard import TensorBoard
    from pdl_ros.training.trainer import Trainer

    board = TensorBoard(out / 'tensorboard' if tensorboard else None)
    scored: list[Any] = []
    trainer = Trainer(
        chosen,
        training,
        settings,
        out,
        encoder,
        start=start,
        run=run,
        validate=None if validation is None else _scorer(validation, device, scored, board),
        info={'commit': commit},
        board=board,
    )
    trainer.run(until)
    if trainer.leads:
        _say(out, scored)
        if report:
            _write_report(f'{variant} on {data}, step {trainer.step}', out, validation, device)


def variant_with(name: str, labels: str | None, data: str) -> Variant:
    """Return a variant with the classes of a label set (name or YAML), else those that the data
    bring along, else its own.
    """
    from pdl_ros.datasets.groups import JOIN
    from pdl_ros.datasets.mixture_file import read_mixture
    from pdl_ros.datasets.own_labels import find_label_set
    from pdl_ros.labels import LabelSet
    from pdl_ros.network.variants import get_variant

    variant = get_variant(name)
    if labels is not None:
        return replace(variant, label_set=LabelSet.load(labels))
    if data.endswith(MIXTURE):
        found: LabelSet | None = read_mixture(Path(data))[0]
    else:
        found = None if data == 'scene' else find_label_set(Path(data))
    if found is None or found == variant.label_set:
        return variant
    if joined := [c.name for c in found.classes if JOIN in c.name]:
        raise PdlError(
            f'{data} leaves open which class {printable(repr(joined[0]))} is; name the folder in a '
            'mixture, which learns the sum of its classes (docs/partial_labels.md).'
        )
    _LOG.info('The classes are the %d of the data, %r.', found.num_classes, found.name)
    return replace(variant, label_set=found)


def _validation(data: str, split: str, label_set: LabelSet) -> PanopticDataset | None:
    """Open the split that a training is scored on; None where none is wanted."""
    from pdl_ros.datasets.layouts import NoSplitError

    try:
        return None if split == 'none' else open_dataset(data, split, label_set, scored=True)
    except NoSplitError as error:
        raise PdlError(f'{error} Without one to score on, give --val-split none.') from None


def open_recipe(name_or_file: str | None, variant: Variant, changes: list[str]) -> TrainSettings:
    """Read a recipe, by default that of a variant, with changes such as optimizer.lr=2e-3."""
    from pdl_ros.training.recipes import recipe_for

    return recipe_for(variant, name_or_file, changes)


def _encoder_weights(backbone_weights: str, start: str | None, variant: Variant) -> Path | None:
    """Return the file of weights that the encoder starts from; None: random ones, or `start`'s."""
    from pdl_ros.network.weight_files import container_of
    from pdl_ros.training.imagenet import imagenet_weights

    if start is not None:
        check_weights(start)
        require(
            backbone_weights in ('imagenet', 'none'),
            '--start fills the encoder too; give it or --backbone-weights, not both.',
        )
        return None
    if backbone_weights == 'none':
        return None
    if backbone_weights == 'imagenet':
        return imagenet_weights(variant.backbone)
    container_of(Path(backbone_weights))
    return Path(backbone_weights)


def _scorer(
    dataset: PanopticDataset, device: str, scored: list[Any], board: TensorBoard
) -> Callable[[Path], dict[str, Any]]:
    """Return what scores a file of weights on a data set. The last scores are kept in `scored`, and
    written to scores.json beside the weights: a training may be killed before its command ends. A
    few pictures are written to `board`.
    """
    from pdl_ros.datasets.mixture import Mixture
    from pdl_ros.datasets.some import Certain

    def score(weights: Path) -> dict[str, Any]:
        from pdl_ros.evaluation.run import evaluate
        from pdl_ros.evaluation.sets.run import score_mixture, summary, to_dict
        from pdl_ros.network.checkpoints import read

        segmenter = _segmenter(weights, device)
        if isinstance(dataset, Mixture):
            scored[:] = score_mixture(segmenter, dataset)
            scores, all_scores = summary(scored), to_dict(scored)
        else:
            scored[:] = [evaluate(segmenter, dataset)]
            scores = all_scores = scored[0].to_dict()
        step = read(weights).header['training']['steps']
        write_json(weights.with_name('scores.json'), {'step': step, **all_scores})
        board.show(segmenter, Certain(dataset))
        segmenter.release()
        return scores

    return score


def _write_report(title: str, out: Path, validation: PanopticDataset | None, device: str) -> None:
    """Write the page of a training, with the pictures that its last weights know worst."""
    from pdl_ros.datasets.some import Certain, EvenlySpread
    from pdl_ros.training.pictures import worst_pictures
    from pdl_ros.training.report import write_report

    scores_file = out / 'scores.json'
    scores = json.loads(scores_file.read_text()) if scores_file.is_file() else None
    worst = []
    if validation is not None:
        some = EvenlySpread(Certain(validation), _LOOKED_AT)
        worst = worst_pictures(_segmenter(out / 'weights.safetensors', device), some)
    print(f'Report: {write_report(out, title, scores, worst)}')


def _segmenter(weights: Path, device: str) -> Segmenter:
    """Load weights to be scored: exact, without the time it takes to find the fastest engine."""
    from pdl_ros.engines import EngineSettings
    from pdl_ros.pipeline import Segmenter

    return Segmenter.load(weights, device, engine=EngineSettings('torch', 'fp32'))


def _say(out: Path, scored: list[Any]) -> None:
    """Print what came of a training; scored: `Scores`, or `SetScores` of each set of a mixture."""
    from pdl_ros.evaluation import Scores
    from pdl_ros.evaluation.report import print_means, print_table
    from pdl_ros.evaluation.sets.run import means_of, summary

    if scored and isinstance(scored[0], Scores):
        print_table(scored[0])
    elif scored:
        print_means([(s.name, s.scores.images, means_of(s)) for s in scored], summary(scored))
    print(f'Weights: {out / "weights.safetensors"}')
    if (out / 'best.safetensors').is_file():
        print(f'Weights of the best PQ: {out / "best.safetensors"}')


def _commit() -> str:
    """The commit of this checkout, for the header of trained weights; the release in an installed
    package, or without git.
    """
    release, root = f'release {__version__}', Path(__file__).resolve().parents[2]
    if not (root / '.git').exists():  # git would go up to whatever repository this is installed in
        return release
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=40']
    try:
        asked = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return release
    return asked.stdout.strip() or release
