"""Recordings that are segmented side by side, on this machine or on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pdl_ros.cli.bag.outcome import say_all
from pdl_ros.errors import require, require_package
from pdl_ros.runtime import precompile

if TYPE_CHECKING:
    from pdl_ros.bags.run_settings import BagJob, RunSettings


def run_several(sources: list[Path], out: Path, settings: RunSettings, jobs: int) -> int:
    """Segment recordings in processes of this machine; return the exit status."""
    from pdl_ros.bags.pool import run_pool
    from pdl_ros.cli.bag.progress import shown_progress

    work = _jobs(sources, out, settings)
    precompile.wait()
    with shown_progress(f'{len(work)} recordings') as progress:
        return say_all(run_pool(work, jobs, progress))


def run_on_ray(
    sources: list[Path], out: Path, settings: RunSettings, address: str, cpus: float
) -> int:
    """Segment recordings on a Ray cluster; return the exit status."""
    require_package('ray', 'ray')
    from pdl_ros.bags.fleet import run_fleet
    from pdl_ros.cli.bag.progress import shown_progress

    # The machines of the cluster have other working folders.
    whole = [source.resolve() for source in sources]
    with shown_progress(f'{len(whole)} recordings') as progress:
        return say_all(run_fleet(_jobs(whole, out.resolve(), settings), address, cpus, progress))


def _jobs(sources: list[Path], out: Path, settings: RunSettings) -> list[BagJob]:
    """Return what is to be made of recordings: of one, `out` itself, else folders in it."""
    from pdl_ros.bags.run_settings import BagJob

    if len(sources) == 1:
        return [BagJob(sources[0], out, settings)]
    names = _names(sources)
    return [
        BagJob(source, out / name, settings) for source, name in zip(sources, names, strict=True)
    ]


def _names(sources: list[Path]) -> list[str]:
    """Return the folder of each result, by the name of its recording."""
    names = [
        source.resolve().name.removesuffix('.zstd').rpartition('.')[0] or source.resolve().name
        for source in sources
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(
        not twice,
        f'Several recordings are called {", ".join(twice)[:200]}, and their results would be too; '
        'give them one by one.',
    )
    return names
