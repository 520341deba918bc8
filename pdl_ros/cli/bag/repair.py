"""`pdl_ros bag repair`: a whole recording of one that was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pdl_ros.errors import printable, require


def repair(
    source: Annotated[Path, typer.Argument(metavar='BAG', help='A recording: a file or a folder.')],
    out: Annotated[Path, typer.Option('--out', '-o', help='Folder of the new recording.')],
    compression: Annotated[str, typer.Option(help='Of the chunks: none, lz4 or zstd.')] = 'zstd',
) -> None:
    """Save what can be read of a recording that was cut off, is damaged or has no metadata.yaml:
    all messages of all topics, as they are, in a new one.

    Exit status 1 where something was lost.
    """
    require(
        compression in ('none', 'lz4', 'zstd'),
        f'--compression is {compression!r}; it must be none, lz4 or zstd.',
    )
    from pdl_ros.bags.repair import repair as repair_bag
    from pdl_ros.cli.bag.progress import shown_progress

    with shown_progress(source.name) as progress:
        done = repair_bag(source, out, compression, progress)
    print(f'{out}: {done.saved.total()} messages of {len(done.saved)} topics are saved.')
    if done.failure:
        print(f'The rest is not: {done.failure}')
    elif source.is_dir() and not done.had_metadata:
        print('It has a metadata.yaml now, which was missing.')
    for damage in done.damage:
        print(f'lost, however much it was: {printable(damage)}')
    for name, count in sorted(done.unreadable.items()):
        print(f'lost: damaged messages of {printable(name)}: {count}')
    if not done.is_whole:
        raise typer.Exit(1)
    print('Nothing was lost.')
