"""`pdl_ros bench`: time the parts beside plain versions of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import (
    Data,
    Device,
    EngineName,
    JsonFile,
    OutFile,
    OutFolder,
    Precision,
    Weights,
    check_weights,
    import_torch,
    open_dataset,
    require_dataset,
)
from pdl_ros.errors import require, require_package
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.runtime.files import require_writable_file, write_json

Height = Annotated[int, typer.Option(min=32, help='Height of the frames.')]
Width = Annotated[int, typer.Option(min=32, help='Width of the frames.')]

bench = typer.Typer(help='Time the parts beside plain versions of them.', no_args_is_help=True)


@bench.command('fusion')
def bench_fusion(
    json_file: JsonFile = None,
    repeats: Annotated[int, typer.Option(min=1, help='Frames timed in each case.')] = 30,
    published: Annotated[
        bool, typer.Option(help='Also time the published algorithm: minutes, and gigabytes.')
    ] = True,
    device: Device = 'cpu',
) -> None:
    """Time the fusion at 512×1024 and 1024×2048, beside the published algorithm in PyTorch."""
    import_torch()
    from pdl_ros.bench import fusion

    results = fusion.bench_fusion(repeats, published, device)
    fusion.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('tracking')
def bench_tracking(
    scenes: Annotated[int, typer.Option(help='Drawn streets.')] = 8,
    frames: Annotated[int, typer.Option(help='Frames of each, at 15 a second.')] = 300,
    camvid: Annotated[
        Path | None, typer.Option(help='Folder of CamVid with images/val and panoptic/val.')
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Score the tracker beside the ids as they come and plain overlap with the last frame."""
    if camvid is not None:
        require_dataset(str(camvid), 'val')
    import_torch()
    from pdl_ros.bench import tracking

    tracking.bench_tracking(scenes, frames, camvid, json_file)


@bench.command('flicker')
def bench_flicker(
    source: Annotated[
        list[str],
        typer.Option(help='Video, folder of images, rosbag, clip or scene; may be several.'),
    ],
    weights: Annotated[
        list[str] | None, typer.Option(help='A shipped variant, or a checkpoint file; repeatable.')
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help='Frames of each, at most.')] = 300,
    smoothing: Annotated[bool, typer.Option(help='Also with classes averaged over time.')] = False,
    device: Device = 'auto',
    json_file: JsonFile = None,
) -> None:
    """Count the pixels that change their class from frame to frame while the picture does not."""
    from pdl_ros.demo.cameras import open_camera

    names = [check_weights(name) for name in weights or [DEFAULT_VARIANT]]
    for name in source:
        open_camera(name)
    import_torch()
    from pdl_ros.bench import flicker

    results = flicker.bench_flicker(source, names, frames, device, smoothing)
    flicker.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('engines')
def bench_engines(
    variant: Annotated[
        list[str] | None,
        typer.Option(help='One or more; random weights if need be.'),
    ] = None,
    height: Height = 360,
    width: Width = 480,
    frames: Annotated[int, typer.Option(min=1, help='Frames timed in each of two rounds.')] = 20,
    engine: Annotated[
        list[str] | None, typer.Option(help="Such as 'torch bf16'; may be given several times.")
    ] = None,
    busy: Annotated[int, typer.Option(min=0, help='Processes that compute beside it.')] = 0,
    device: Device = 'cpu',
    json_file: JsonFile = None,
) -> None:
    """Time each engine, stage by stage, beside the network and fusion as published."""
    from pdl_ros.network.variants import get_variant

    variants = variant or [DEFAULT_VARIANT]
    for name in variants:
        get_variant(name)
    import_torch()
    from pdl_ros.bench import engines

    results = engines.bench_engines(variants, height, width, frames, engine, busy, device)
    engines.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('variants')
def bench_variants(
    variant: Annotated[
        list[str] | None, typer.Option(help='One or more; random weights if need be.')
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help='Files of weights: their variants too.')
    ] = None,
    height: Height = 360,
    width: Width = 480,
    frames: Annotated[int, typer.Option(min=1, help='Frames timed in each of two rounds.')] = 20,
    engine: Annotated[
        list[str] | None, typer.Option(help="Such as 'openvino int8'; may be given several times.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help='Folder of labelled images: also score what has weights.')
    ] = None,
    split: str = 'val',
    json_file: JsonFile = None,
) -> None:
    """Count, time and score variants beside each other: multiply-adds, milliseconds, PQ, mIoU."""
    from pdl_ros.bench import variants

    names = [*(variant or ()), *map(str, weights or ())] or list(variants.SMALL_MACHINES)
    dataset = None
    if data:
        first = next(filter(variants.has_weights, names), names[0])
        dataset = open_dataset(data, split, variants.variant_of(first).label_set, scored=True)
    results = variants.bench_variants(names, height, width, frames, engine, dataset)
    variants.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('training')
def bench_training(
    data: Data,
    variant: Annotated[str, typer.Option(help='See `pdl_ros variants`.')] = DEFAULT_VARIANT,
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML); default: that of the data.')
    ] = None,
    recipe: Annotated[str | None, typer.Option(help='A shipped recipe, or a YAML file.')] = None,
    change: Annotated[
        list[str] | None, typer.Option('--set', help='A value of the recipe; repeatable.')
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help='Steps timed.')] = 10,
    workers: Annotated[
        int | None, typer.Option(help='Processes that prepare crops; default: by cores.')
    ] = None,
    device: Device = 'auto',
    json_file: JsonFile = None,
) -> None:
    """Time the training: crops a second, where the time goes, and a plain loop beside it."""
    require_package('lightning_fabric', 'train')
    from pdl_ros.cli.train import open_recipe, variant_with
    from pdl_ros.training.settings import RunSettings

    chosen = variant_with(variant, labels, data)
    settings = open_recipe(recipe, chosen, change or [])
    dataset = open_dataset(data, 'train', chosen.label_set)
    import_torch()
    from pdl_ros.bench import training

    run = RunSettings(device=device, workers=workers)
    results = training.bench_training(chosen, dataset, settings, run, steps)
    training.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('ablations')
def bench_ablations(
    names: Annotated[
        list[str] | None, typer.Argument(help="Such as heatmap_loss; default: all of the paper's.")
    ] = None,
    data: Data = 'scene',
    variant: Annotated[str, typer.Option(help='See `pdl_ros variants`.')] = 'scene_tiny',
    recipe: Annotated[str | None, typer.Option(help='A shipped recipe, or a YAML file.')] = None,
    change: Annotated[
        list[str] | None, typer.Option('--set', help='A value of the recipe; repeatable.')
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help='Optimiser steps of each training.')
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help='Trainings of each choice.')] = 3,
    device: Device = 'auto',
    out: Annotated[Path, OutFolder] = Path('ablations'),
    json_file: JsonFile = None,
) -> None:
    """Train with one choice of the paper changed at a time, and score: heatmap loss, branches,
    bootstrapping, small instances, channels, crop. The same command goes on where it was stopped.
    """
    require_package('lightning_fabric', 'train')
    import_torch()
    from pdl_ros.bench import ablations
    from pdl_ros.cli.train import open_recipe, variant_with
    from pdl_ros.training.imagenet import imagenet_weights

    chosen = names or list(ablations.ABLATIONS)
    for name in chosen:
        require(
            name in ablations.ABLATIONS,
            f'No ablation {name!r}; there are: {", ".join(ablations.ABLATIONS)}.',
        )
    base = variant_with(variant, None, data)
    changes = [*(change or ()), *([f'steps={steps}'] if steps else ())]
    settings = open_recipe(recipe, base, changes)
    datasets = (
        open_dataset(data, 'train', base.label_set),
        open_dataset(data, 'val', base.label_set, scored=True),
    )
    encoder = imagenet_weights(base.backbone)
    results = ablations.bench_ablations(
        chosen, base, settings, datasets, seeds, out, encoder, device
    )
    ablations.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('agreement')
def bench_agreement(
    data: Annotated[Path, typer.Option(help='A folder of labelled images, such as CamVid.')],
    weights: Weights = DEFAULT_VARIANT,
    step: Annotated[int, typer.Option(min=1, help='Compare on every step-th image.')] = 1,
    engine: Annotated[
        list[str] | None, typer.Option(help="Such as 'torch bf16'; may be given several times.")
    ] = None,
    keep: Annotated[
        bool, typer.Option(help='Write it beside the weights, where engine auto looks for it.')
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Compare engines and precisions with plain PyTorch in fp32: heads, pixels, PQ and mIoU."""
    from pdl_ros.engines.agreement import agreement_file
    from pdl_ros.network.weight_files import find_weights

    for split in ('val', 'train'):
        require_dataset(str(data), split)
    if keep:
        require_writable_file(agreement_file(find_weights(weights)))
    import_torch()
    from pdl_ros.bench import agreement
    from pdl_ros.bench.machine import possible_engines
    from pdl_ros.network import checkpoints

    label_set = checkpoints.load(weights)[1].label_set
    validation = open_dataset(str(data), 'val', label_set, scored=True)
    training = open_dataset(str(data), 'train', label_set)
    engines = engine or possible_engines(agreement.ENGINES)
    results = agreement.bench_agreement(weights, validation, training, engines, step)
    agreement.print_results(results)
    if json_file is not None:
        write_json(json_file, results)
    if keep:
        print(f'Engine auto takes this from {agreement.keep_results(results, data)}.')


@bench.command('chart')
def bench_chart(
    reports: Annotated[list[Path], typer.Argument(help='What `bench engines --json` wrote.')],
    out: Annotated[Path, OutFile] = Path('engines.png'),
) -> None:
    """Draw reports of `bench engines` side by side."""
    from pdl_ros.bench.chart import draw_chart

    draw_chart(reports, out)


@bench.command('node')
def bench_node(
    height: Height = 1024,
    width: Width = 2048,
    frames: Annotated[int, typer.Option(min=1, help='Frames timed in each case.')] = 20,
    weights: Weights = 'scene_tiny',
    json_file: JsonFile = None,
) -> None:
    """Time what the node adds to the pipeline: messages, DDS and waiting, in real processes."""
    from pdl_ros.demo.processes import require_ros

    require_ros('bench node')
    import_torch()
    from pdl_ros.bench import node

    results = node.bench_node(height, width, frames, weights)
    node.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('start')
def bench_start(
    height: Height = 480,
    width: Width = 640,
    starts: Annotated[int, typer.Option(min=1, help='Starts of each kind.')] = 3,
    weights: Weights = DEFAULT_VARIANT,
    json_file: JsonFile = None,
) -> None:
    """Time a node from its start to its first result: with nothing cached, and after that."""
    from pdl_ros.demo.processes import require_ros

    require_ros('bench start')
    from pdl_ros.bench import start

    results = start.bench_start(height, width, starts, weights)
    start.print_results(results)
    if json_file is not None:
        write_json(json_file, results)


@bench.command('bags')
def bench_bags(
    frames: Annotated[int, typer.Option(min=5, help='Frames of each recording.')] = 60,
    weights: Weights = DEFAULT_VARIANT,
    images: Annotated[str, typer.Option(help='Images in the recordings: raw or jpeg.')] = 'raw',
    device: Device = 'auto',
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
    json_file: JsonFile = None,
) -> None:
    """Time `bag run` at 480×360 and 2048×1024, beside the bare pipeline in the same run."""
    require(images in ('raw', 'jpeg'), f'--images is {images!r}; it can be raw or jpeg.')
    for package in ('rosbags', 'mcap'):
        require_package(package, 'bag')
    import_torch()
    from pdl_ros.bench import bags

    results = bags.bench_bags(frames, weights, device, engine, precision, images)
    bags.print_results(results)
    if json_file is not None:
        write_json(json_file, results)
