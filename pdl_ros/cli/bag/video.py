"""`pdl_ros bag video`: look at a recording with its results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.cli.bag.outcome import print_lost
from pdl_ros.cli.options import OutFile


def video(
    source: Annotated[
        Path, typer.Argument(metavar='BAG', help='A recording with images: a file or a folder.')
    ],
    out: Annotated[Path, OutFile],
    results: Annotated[
        Path | None,
        typer.Option(help='The recording with their results; the same one where not given.'),
    ] = None,
    topic: Annotated[str, typer.Option(help='Topic of the images, where there are several.')] = '',
    labels: Annotated[
        str, typer.Option(help='Topic of the panoptic label images, where there are several.')
    ] = '',
    width: Annotated[int, typer.Option(help='Pixels of each of the three panels, at most.')] = 640,
    alpha: Annotated[float, typer.Option(help='Of the overlay: 0 the image, 1 colours.')] = 0.5,
) -> None:
    """Write an MP4 of image, overlay and instances beside each other, timed by the stamps.

    Exit status 1 where images have no results of their stamp or were lost.
    """
    from pdl_ros.bags.side_by_side import VideoSettings, write_video
    from pdl_ros.cli.bag.progress import shown_progress

    settings = VideoSettings(source, results or source, topic, labels, width, alpha)
    with shown_progress(source.name) as progress:
        shown = write_video(settings, out, progress)
    print(f'{out}: {shown.frames} images, {shown.seconds:.1f} s')
    if shown.out_of_order:
        print(f'  stamps that are not after the one before, or hours after: {shown.out_of_order}')
    if shown.without_labels:
        print(f'  images without labels of their stamp, which are left out: {shown.without_labels}')
    print_lost(shown.lost)
    if shown.without_labels or shown.lost or not shown.whole:
        raise typer.Exit(1)
