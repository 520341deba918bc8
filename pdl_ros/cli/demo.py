"""`pdl_ros demo`: the node with an embedded camera, or the offline way through a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.options import Device, OutFolder, RerunFile, check_weights
from pdl_ros.errors import require, require_bag_packages, require_package

_FRAMES = 150  # of the street, ten seconds


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
    bag: Annotated[
        bool,
        typer.Option(
            '--bag',
            help='The offline way instead, without ROS: record a drawn street, segment the bag, '
            'score the result, write the report, all into --out.',
        ),
    ] = False,
    rerun: RerunFile = None,
) -> None:
    """Camera, node and recorder as three processes over DDS; leaves a contact sheet and a video."""
    if bag:
        require(
            source in ('clip', 'scene') and not rate,
            '--bag records a drawn street, whose truth is exact; --source and --rate are for the '
            'demo of the node.',
        )
        require(frames >= 0, f'--frames is {frames}; it may not be negative.')
        _offline(out, weights or 'scene_tiny', device, frames or _FRAMES, rerun)
        return
    from pdl_ros.demo.run import DemoSettings, run_demo

    run_demo(DemoSettings(source, weights, device, out, rate, frames, rerun))


def _offline(out: Path, weights: str, device: str, frames: int, rerun: Path | None) -> None:
    """Do what a person with a recording does, and show the commands."""
    # What comes at the end is looked for before the work.
    require_package('matplotlib', 'evaluate')
    if rerun is not None:
        require_package('rerun', 'rerun')
    require_bag_packages()
    from pdl_ros.bags.writer import METADATA
    from pdl_ros.cli.bag.run import run
    from pdl_ros.cli.bag.score import score
    from pdl_ros.demo.labelled_bag import write_street_bag

    street, results = out / 'street', out / 'results'
    scores, report = out / 'scores.json', out / 'report.html'
    if (street / METADATA).is_file():
        print(
            f'{street} is there already and is used; give another folder with --out for a new one.'
        )
    else:
        out.mkdir(parents=True, exist_ok=True)
        print(f'Recording {frames} frames of a drawn street, with their truth, in {street}')
        write_street_bag(street, frames)
    print(f'\n$ pdl_ros bag run {street} -o {results} --weights {weights} --tracking')
    run([street], results, weights=weights, device=device, tracking=True, rerun=rerun)
    print(
        f'\n$ pdl_ros bag score {results} --truth {street} --identities --json {scores} --report '
        f'{report}'
    )
    score([results], [street], identities=True, json_file=scores, report=report)
