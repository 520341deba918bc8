"""The command `pdl_ros compile`: what a first start would do, done beforehand."""

from __future__ import annotations

from typing import Annotated

import typer

from pdl_ros.cli.options import (
    Device,
    EngineName,
    Precision,
    check_weights,
    import_torch,
)
from pdl_ros.engines import EngineSettings
from pdl_ros.errors import PdlError
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.runtime import precompile


def compile_all(
    weights: Annotated[
        list[str] | None, typer.Option(help='Shipped variants or checkpoint files; repeatable.')
    ] = None,
    device: Device = 'auto',
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
    height: Annotated[int, typer.Option(min=1, help='Height of the frames.')] = 480,
    width: Annotated[int, typer.Option(min=1, help='Width of the frames.')] = 640,
    batch: Annotated[int, typer.Option(min=1, help='Cameras segmented together.')] = 1,
    kernels_only: Annotated[bool, typer.Option(help='Nothing that depends on weights.')] = False,
) -> None:
    """Get ready what the first start would: the CPU kernels, and the engines of networks, on the
    machine that will run them.

    Give what the node will have: its weights, engine, precision and `warm_up_size`, the number of
    its cameras where they are batched, and its environment (OMP_NUM_THREADS, PDL_ROS_CACHE).
    """
    names = [check_weights(name) for name in weights or [DEFAULT_VARIANT]]
    if not precompile.wait():
        raise PdlError('The CPU kernels could not be compiled and kept; the reason is above.')
    if kernels_only:
        return
    import_torch()
    from pdl_ros.pipeline import Segmenter

    settings = EngineSettings(engine, precision, frame_size=(height, width), batch=batch)
    for name in names:
        segmenter = Segmenter.load(name, device, engine=settings)
        segmenter.warm_up(height, width)
        segmenter.release()
