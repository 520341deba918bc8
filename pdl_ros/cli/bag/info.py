"""`pdl_ros bag info`: what a recording holds, and what can be made of it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.errors import printable, require_bag_packages

if TYPE_CHECKING:
    from rich.table import Table

    from pdl_ros.bags.contents import BagContents, TopicContents

_WIDTH = 120  # of a table that no terminal shows


def info(
    path: Annotated[Path, typer.Argument(metavar='BAG', help='A recording: a file or a folder.')],
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON instead.')] = False,
) -> None:
    """Say what a recording holds, which topics `bag run` can process, and why not the others.

    Exit status 1 where a part of the recording is missing.
    """
    require_bag_packages()
    from pdl_ros.bags.contents import contents_of

    contents = contents_of(path)
    if as_json:
        print(json.dumps(contents.to_dict(), indent=1))
    else:
        _print(contents)
    if contents.damage:
        raise typer.Exit(1)


def _print(contents: BagContents) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    console = console if console.is_terminal else Console(width=_WIDTH, highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    begun = datetime.fromtimestamp(contents.start / 1e9, timezone.utc)
    when = f'{contents.duration:.1f} s from {begun:%Y-%m-%d %H:%M:%S} UTC'
    say(
        f'{contents.path}: '
        + (f'{contents.messages} messages in {when}' if contents.messages else 'no messages')
        + f'; {_bytes(contents.size)}, {"; ".join(contents.storage)}, files: {len(contents.files)}'
    )
    for damage in contents.damage:
        say(f'damaged: {printable(damage)}')
    console.print(_table(contents))
    for topic in contents.topics:
        if topic.why_not:
            say(f'{topic.name} cannot be processed: {topic.why_not}')
    for topic in contents.images:
        if topic.points:
            say(f'{topic.name}: labelled points with {topic.points} and {topic.camera_info}')
        else:
            say(f'{topic.name}: no labelled points without {topic.no_points_without}')
    say(_next_step(contents))


def _table(contents: BagContents) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for title, justify in (
        ('topic', 'left'),
        ('type', 'left'),
        ('count', 'right'),
        ('Hz', 'right'),
        ('first', 'left'),
        ('bag run', 'left'),
    ):
        table.add_column(title, justify='right' if justify == 'right' else 'left', overflow='fold')
    for topic in contents.topics:
        rate = f'{topic.rate:.1f}' if topic.rate else ''
        cells = topic.name, _type(topic), str(topic.count), rate, _first(topic), _use(topic)
        table.add_row(*map(escape, cells))
    return table


def _type(topic: TopicContents) -> str:
    name = topic.type.replace('/msg/', '/') or 'unknown'
    return name if topic.encoding == 'cdr' else f'{name} ({topic.encoding})'


def _first(topic: TopicContents) -> str:
    size = f'{topic.width}x{topic.height} ' if topic.width else ''
    return f'{size}{topic.format}'


def _use(topic: TopicContents) -> str:
    if topic.why_not:
        return 'no: see below'
    return 'yes' if topic.use == 'image' else topic.use or '-'


def _next_step(contents: BagContents) -> str:
    images = contents.images
    if not images and any(topic.use == 'labels' for topic in contents.topics):
        return f'Score it: pdl_ros bag score {contents.path} --truth BAG'
    if not images:
        return 'No topic of images can be processed.'
    topics = '' if len(images) == 1 else f'; images: {len(images)} topics'
    return f'Process it: pdl_ros bag run {contents.path} -o OUT{topics}'


def _bytes(size: int) -> str:
    value = float(size)
    for unit in ('B', 'kB', 'MB', 'GB'):
        if value < 1000:
            return f'{value:.0f} {unit}' if unit == 'B' else f'{value:.1f} {unit}'
        value /= 1000
    return f'{value:.1f} TB'
