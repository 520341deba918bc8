"""`pdl_ros demo`: the node with an embedded camera."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import Device, OutFolder, check_weights


def _check_weights(name: str) -> str:
    return check_weights(name) if name else name


def demo(
    source: Annotated[
        str, typer.Option(help='clip, scene, a video or image file, a folder or a rosbag.')
    ] = 'clip',
    weights: Annotated[
        str,
        typer.Option(
            callback=_check_weights,
            help='Shipped variant or checkpoint file; empty: what fits the source.',
        ),
    ] = '',
    device: Device = 'auto',
    out: Annotated[Path, OutFolder] = Path('demo_output'),
    rate: Annotated[float, typer.Option(help="Frames a second; 0: the source's own.")] = 0.0,
    frames: Annotated[int, typer.Option(help='Stop after this many frames; 0: all.')] = 0,
) -> None:
    """Camera, node and recorder as three processes over DDS; leaves a contact sheet and a video."""
    from pdl_ros.demo.run import DemoSettings, run_demo

    run_demo(DemoSettings(source, weights, device, out, rate, frames))
