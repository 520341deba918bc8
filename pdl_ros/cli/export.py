"""`pdl_ros export`: write a network for other runtimes than PyTorch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import OutFile, WeightsFile, import_torch
from pdl_ros.engines.devices import check_device_name
from pdl_ros.errors import require, require_package

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
    frames = islice(open_source(calibrate), 100) if calibrate else None
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
