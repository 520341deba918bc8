"""`pdl_ros bag record`: topics to MCAP, on machines without rosbag2."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.errors import require, require_bag_packages

if TYPE_CHECKING:
    from pdl_ros.node.topic_recorder import Recorded


def record(
    topics: Annotated[
        list[str],
        typer.Argument(
            metavar='TOPIC_OR_PATTERN...', help='Full names, or patterns such as "/front/*".'
        ),
    ],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder of the new recording.')],
    duration: Annotated[float, typer.Option(help='Stop after so many seconds; 0: Ctrl-C.')] = 0.0,
    buffer: Annotated[int, typer.Option(help='MB of messages that may wait for the disk.')] = 256,
    compression: Annotated[str, typer.Option(help='Of the chunks: none, lz4 or zstd.')] = 'none',
    split: Annotated[int, typer.Option(help='Begin a new file after so many MB; 0: one.')] = 0,
) -> None:
    """Record topics as they come over the wire, with the QoS of their publishers, until Ctrl-C.

    Topics that appear later are found. Exit status 1 where messages were dropped or lost.
    """
    for module in ('rclpy', 'ament_index_python'):
        require(
            find_spec(module) is not None,
            f'To record topics takes ROS 2, but {module} is not here; source a ROS 2 setup file '
            'first.',
        )
    require_bag_packages()
    from rich.console import Console

    from pdl_ros.node.topic_recorder import RecorderSettings
    from pdl_ros.node.topic_recorder import record as record_topics

    settings = RecorderSettings(
        out, tuple(topics), buffer * 10**6, duration, compression, split * 10**6
    )
    console = Console(highlight=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(line, markup=False)

    if console.is_terminal:
        with console.status('waiting for topics') as status:
            done = record_topics(settings, say, lambda state: status.update(_in_words(state)))
    else:
        done = record_topics(settings, say)
    say(f'{out}: {_in_words(done)}')
    for name in sorted({*done.dropped, *done.lost}):
        say(
            f'  {name}: {done.written[name]} written, {done.dropped[name]} dropped because the '
            f'disk was too slow, {done.lost[name]} lost on the way.'
        )
    if not done.is_whole:
        raise typer.Exit(1)


def _in_words(state: Recorded) -> str:
    dropped, lost = state.dropped.total(), state.lost.total()
    return (
        f'{state.written.total()} messages, {state.bytes / 1e6:.1f} MB, '
        f'{dropped} dropped, {lost} lost'
    )
