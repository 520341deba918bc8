"""The command `pdl_ros`. Every subcommand imports what it needs, so that --help is instant."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdl_ros import __version__
from pdl_ros.cli_bench import bench
from pdl_ros.cli_checkpoint import checkpoint
from pdl_ros.cli_export import export
from pdl_ros.errors import PdlError, require_package
from pdl_ros.threads import spin_briefly

if TYPE_CHECKING:
    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.evaluation import Scores
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter

DEFAULT_VARIANT = 'camvid_efficientnet_lite0'
app = typer.Typer(
    help='Panoptic-DeepLab for ROS 2: panoptic segmentation of camera images.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(checkpoint, name='checkpoint')
app.add_typer(bench, name='bench')
app.add_typer(export, name='export')

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


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit status 2."""
    spin_briefly()
    try:
        logging.basicConfig(level=logging.INFO, format='%(message)s')
        app()
    except PdlError as error:
        print(f'pdl_ros: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def demo(
    source: Annotated[
        str, typer.Option(help='clip, scene, a video or image file, a folder or a rosbag.')
    ] = 'clip',
    weights: Annotated[
        str, typer.Option(help='Shipped variant or checkpoint file; empty: what fits the source.')
    ] = '',
    device: Device = 'auto',
    out: Annotated[Path, typer.Option(help='Where the pictures go.')] = Path('demo_output'),
    rate: Annotated[float, typer.Option(help="Frames a second; 0: the source's own.")] = 0.0,
    frames: Annotated[int, typer.Option(help='Stop after this many frames; 0: all.')] = 0,
) -> None:
    """Camera, node and recorder as three processes over DDS; leaves a contact sheet and a video."""
    from pdl_ros.demo.run import DemoSettings, run_demo

    run_demo(DemoSettings(source, weights, device, out, rate, frames))


@app.command()
def infer(
    source: Annotated[
        str, typer.Argument(help='An image, a video, a folder of images or a rosbag.')
    ],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder for the results.')] = Path(
        'output'
    ),
    weights: Weights = DEFAULT_VARIANT,
    device: Device = 'auto',
    scales: Scales = '1',
    flip: Flip = False,
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
) -> None:
    """Segment files without ROS: a 16-bit panoptic PNG, an overlay and a segment list for each
    frame.
    """
    from pdl_ros.files import infer_files

    count = infer_files(source, _segmenter(weights, device, scales, flip, engine, precision), out)
    print(f'{count} frames segmented into {out}/')


@app.command()
def train(
    variant: Annotated[str, typer.Argument(help='Variant to train; see `pdl_ros variants`.')],
    data: Data,
    out: Annotated[Path, typer.Option(help='Folder of the run; an existing run is resumed.')],
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
    them.
    """
    require_package('lightning_fabric', 'train')
    from pdl_ros.evaluation.report import print_table, write_json
    from pdl_ros.evaluation.run import evaluate as score
    from pdl_ros.labels import LabelSet
    from pdl_ros.network.variants import get_variant
    from pdl_ros.pipeline import Segmenter
    from pdl_ros.training.recipes import imagenet_weights, recipe
    from pdl_ros.training.trainer import Trainer

    chosen = get_variant(variant)
    if labels is not None:
        chosen = replace(chosen, label_set=LabelSet.load(labels))
    overrides: dict[str, Any] = {
        'steps': steps,
        'batch_size': batch_size,
        'learning_rate': learning_rate,
    }
    settings = replace(recipe(chosen), **{k: v for k, v in overrides.items() if v is not None})
    start = {'imagenet': lambda: imagenet_weights(chosen.backbone), 'none': lambda: None}
    trainer = Trainer(
        chosen,
        _dataset(data, 'train', chosen.label_set),
        settings,
        out,
        start.get(backbone_weights, lambda: Path(backbone_weights))(),
        device,
    )
    trainer.run(until)
    weights = trainer.save_weights({'commit': _commit()})
    scores = score(Segmenter.load(weights, device), _dataset(data, 'val', chosen.label_set))
    trainer.save_weights({'commit': _commit(), 'scores': _summary(scores)})
    print_table(scores)
    write_json(scores, out / 'scores.json', {'step': trainer.step})
    print(f'Weights: {weights}')


@app.command()
def evaluate(
    data: Data,
    weights: Weights = DEFAULT_VARIANT,
    split: str = 'val',
    device: Device = 'auto',
    scales: Scales = '1',
    flip: Flip = False,
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Also write the scores here.')
    ] = None,
) -> None:
    """Score a checkpoint on labelled images: PQ, SQ, RQ and mIoU."""
    from pdl_ros.evaluation.report import print_table, write_json
    from pdl_ros.evaluation.run import evaluate as score

    segmenter = _segmenter(weights, device, scales, flip, engine, precision)
    scores = score(segmenter, _dataset(data, split, segmenter.label_set))
    print_table(scores)
    if json_file is not None:
        views = {'scales': scales, 'flip': flip}
        write_json(scores, json_file, {'weights': weights, 'split': split, **views})


@app.command()
def variants(
    markdown: Annotated[bool, typer.Option(help='Print the table of docs/variants.md.')] = False,
) -> None:
    """List the model variants: published accuracy, size, cost, and where weights come from."""
    from pdl_ros.catalogue import markdown_table, print_variants

    if markdown:
        print(markdown_table())
    else:
        print_variants()


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option('--version', help='Print the version.')] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _segmenter(
    weights: str, device: str, scales: str, flip: bool, engine: str, precision: str
) -> Segmenter:
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


def _dataset(data: str, split: str, label_set: LabelSet) -> PanopticDataset:
    if data == 'scene':
        from pdl_ros.demo.scene import SceneDataset

        return (
            SceneDataset(400, 160, 256)
            if split == 'train'
            else SceneDataset(30, 160, 256, first_seed=10_000)
        )
    from pdl_ros.datasets.label_folder import LabelFolder

    return LabelFolder(data, split, label_set)


def _commit() -> str:
    """The commit of this checkout, for the header of trained weights; unknown in an installed
    package.
    """
    folder = Path(__file__).parent
    asked = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=40'],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or f'release {__version__}'


def _summary(scores: Scores) -> dict[str, float]:
    return {
        name: round(value, 4)
        for name, value in scores.to_dict().items()
        if isinstance(value, float)
    }


if __name__ == '__main__':
    main()
