"""`pdl_ros export`: write a network for other runtimes than PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.options import (
    OutFile,
    WeightsFile,
    import_torch,
    open_dataset,
    require_dataset,
)
from pdl_ros.engines.devices import check_device_name
from pdl_ros.errors import PdlError, require, require_package

if TYPE_CHECKING:
    import numpy as np

    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.sources import Source

_TENSORRT_FRAMES = 100

export = typer.Typer(help='Write a network for other runtimes.', no_args_is_help=True)


@export.command()
def onnx(
    weights: WeightsFile,
    out: Annotated[Path, OutFile],
    height: Annotated[int | None, typer.Option(min=1, help='Fixed input height.')] = None,
    width: Annotated[int | None, typer.Option(min=1, help='Fixed input width.')] = None,
    batch: Annotated[str, typer.Option(help='dynamic, or a fixed number of images.')] = 'dynamic',
) -> None:
    """Write an ONNX file of any input size, or of a fixed one, that was seen to run as PyTorch
    does.
    """
    require(out.suffix == '.onnx', f'{out} must end in .onnx.')
    require((height is None) == (width is None), 'Give both --height and --width, or neither.')
    fixed = int(batch) if batch.isdecimal() else None
    require(
        batch == 'dynamic' or bool(fixed),
        f'--batch is {batch!r}; it is dynamic or a number of images from 1.',
    )
    for module in ('onnx', 'onnxslim', 'onnxruntime'):
        require_package(module, 'export')
    import_torch()
    from pdl_ros.engines.onnx_export import OPSET
    from pdl_ros.engines.onnx_file import write_onnx
    from pdl_ros.network import checkpoints

    network, variant = checkpoints.load(weights)
    size = None if height is None or width is None else (height, width)
    written = write_onnx(network, variant, out, size, fixed)
    edges = ', '.join(f'{shape[2]}x{shape[3]}' for shape in written.shapes)
    print(
        f'{out}: {variant.name}, opset {OPSET}, {out.stat().st_size / 1e6:.1f} MB; differs from '
        f'PyTorch by at most {written.error:.0e} of the largest value (at {edges})'
    )


@export.command()
def openvino(
    weights: WeightsFile,
    calibrate: Annotated[
        str,
        typer.Option(help='A folder of images like those to come, a video or a rosbag.'),
    ],
    precision: Annotated[str, typer.Option(help='int8; others need no export.')] = 'int8',
    data: Annotated[
        Path | None,
        typer.Option(help='Labelled images to score it on: their split val.'),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option('--out', '-o', help='The file to write; else beside the checkpoint.'),
    ] = None,
) -> None:
    """Quantise a network to int8 for OpenVINO and ONNX Runtime on CPUs; minutes.

    The file lies beside the checkpoint as NAME.int8.onnx, where engine and precision auto look for
    it. fp32 and bf16 need no export.
    """
    from rich.progress import Progress

    from pdl_ros.network.weight_files import find_weights
    from pdl_ros.runtime.files import atomic_write, require_writable_file
    from pdl_ros.sources import open_source

    require(
        precision == 'int8',
        f'--precision is {precision!r}; only int8 needs a file of its own: OpenVINO runs the '
        'checkpoint itself in fp32 and bf16.',
    )
    for module in ('onnx', 'onnxruntime'):
        require_package(module, 'export')
    if data is not None:
        require_dataset(str(data), 'val')
    source = open_source(calibrate)
    import_torch()
    from pdl_ros.engines.agreement import agreement_file, forget_int8
    from pdl_ros.engines.quantised import quantised_file
    from pdl_ros.engines.tensorrt_plans import weights_digest
    from pdl_ros.evaluation.quantisation import FRAMES, quantise_network
    from pdl_ros.network import checkpoints

    checkpoint = find_weights(weights)
    beside = quantised_file(checkpoint)
    path = out or beside
    require(path.suffix == '.onnx', f'{path} must end in .onnx.')
    is_taken = path.resolve() == beside.resolve()  # by engine auto
    require_writable_file(path)
    if is_taken:
        require_writable_file(agreement_file(checkpoint))
    network, variant = checkpoints.load(checkpoint)
    labelled = None
    if data is not None:
        labelled = data, open_dataset(str(data), 'val', variant.label_set, scored=True)
    with Progress(transient=True) as progress:
        bar = progress.add_task('frames')
        found = quantise_network(
            network,
            variant,
            list(spread(source, FRAMES)),
            lambda what, done, total: progress.update(
                bar, description=what, completed=done, total=total
            ),
        )
    if is_taken:
        forget_int8(checkpoint, weights_digest(network))
    with atomic_write(path) as file:
        file.write(found.model)
    print(
        f'{path}: {variant.name}, int8, {len(found.model) / 1e6:.1f} MB; {found.wide} of '
        f'{found.layers} convolutions stay fp32'
    )
    if is_taken:
        _measure_int8(checkpoint, calibrate, found.held_out, labelled)


def _measure_int8(
    checkpoint: Path,
    calibrate: str,
    frames: Sequence[np.ndarray],
    labelled: tuple[Path, PanopticDataset] | None,
) -> None:
    """Say how far a checkpoint's int8 is from fp32 here, and note it for engine auto.

    labelled: where labelled images lie, and they themselves; None: there are none, and `frames` are
    those to compare on.
    """
    from pdl_ros.bench import agreement
    from pdl_ros.bench.machine import possible_engines
    from pdl_ros.engines import EngineSettings, pick_device
    from pdl_ros.engines.agreement import Agreement, keep_agreement
    from pdl_ros.engines.factory import open_engine
    from pdl_ros.engines.tensorrt_plans import weights_digest
    from pdl_ros.evaluation.quantisation import EqualPixels
    from pdl_ros.network import checkpoints
    from pdl_ros.runtime.cpu_features import instruction_set

    network, variant = checkpoints.load(checkpoint)
    engines = possible_engines(['openvino int8', 'onnxruntime int8'])
    if labelled is not None:
        data, scored = labelled
        results = agreement.bench_agreement(str(checkpoint), scored, scored, engines)
        agreement.print_results(results)
        agreement.keep_results(results, data)
        return
    equal, rows = EqualPixels(network, variant, frames), []
    compared = f'{len(frames)} frames of {Path(calibrate).name}'
    for name in engines:
        runtime, precision = name.split()
        settings = EngineSettings(runtime, precision, checkpoint=checkpoint)
        try:
            engine = open_engine(network, variant, pick_device('cpu'), settings)
        except PdlError as error:
            print(f'{name}: not compared: {error}')
            continue
        shares = equal(engine)
        pixels, isa = round(fmean(shares), 5), instruction_set(runtime)
        row = Agreement(runtime, 'int8', isa, pixels, None, compared)
        engine.release()
        verdict = 'auto may take it' if row.meets_mark else 'auto does not take it'
        print(
            f'{name} on {row.isa}: {100 * row.equal_pixels:.2f} % of the panoptic pixels of '
            f'{len(frames)} other frames are those of fp32; {verdict}'
        )
        rows.append(row)
    keep_agreement(checkpoint, weights_digest(network), rows)


@export.command()
def tensorrt(
    weights: WeightsFile,
    precision: Annotated[str, typer.Option(help='fp32, fp16 or int8.')] = 'fp16',
    height: Annotated[int | None, typer.Option(min=1, help='Fixed input height.')] = None,
    width: Annotated[int | None, typer.Option(min=1, help='Fixed input width.')] = None,
    batch: Annotated[int, typer.Option(min=1, help='Most images at a time.')] = 1,
    calibrate: Annotated[
        str,
        typer.Option(help='For int8: a folder of images like those to come, a video or a rosbag.'),
    ] = '',
    device: Annotated[
        str, typer.Option(callback=check_device_name, help='cuda or cuda:N.')
    ] = 'cuda',
) -> None:
    """Build the engine that the node will load, for this GPU, into the user's cache folder."""
    from pdl_ros.sources import open_source

    require((height is None) == (width is None), 'Give both --height and --width, or neither.')
    require_package('onnxruntime', 'export')
    frames = spread(open_source(calibrate), _TENSORRT_FRAMES) if calibrate else None
    import_torch()
    from pdl_ros.engines import pick_device
    from pdl_ros.engines.tensorrt_plans import image_shapes, open_tensorrt
    from pdl_ros.network import checkpoints
    from pdl_ros.preprocessing import Preprocessor, network_size

    target = pick_device(device)
    network, variant = checkpoints.load(weights)
    images = None
    if frames is not None:
        prepare = Preprocessor(variant, pick_device('cpu'))
        images = (prepare(f, network_size(f.shape[0], f.shape[1], variant)) for f in frames)
    size = None if height is None or width is None else (height, width)
    shapes = image_shapes(variant, size, batch)
    open_tensorrt(network, variant, target, precision, shapes, None, images).release()


def spread(source: Source, count: int) -> Iterator[np.ndarray]:
    """Yield at most `count` frames, evenly spread over a source; the first ones where its length is
    not known, for it may never end.
    """
    length = count if source.length is None else source.length
    chosen = {i * length // count for i in range(count)}
    for index, frame in enumerate(islice(source, max(chosen) + 1)):
        if index in chosen:
            yield frame
