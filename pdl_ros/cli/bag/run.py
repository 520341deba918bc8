"""`pdl_ros bag run`: recordings in, recordings with the node's topics out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.options import (
    DEFAULT_VARIANT,
    Device,
    EngineName,
    OutFolder,
    Precision,
    Weights,
    import_torch,
)
from pdl_ros.errors import PdlError, require
from pdl_ros.runtime import precompile
from pdl_ros.runtime.memory import share_one_heap

if TYPE_CHECKING:
    from pdl_ros.bags.run import BagReport
    from pdl_ros.bags.run_settings import RunSettings

_SHOWN = 5  # sentences about lost images


def run(
    sources: Annotated[
        list[Path], typer.Argument(help='Recordings: folders, .mcap, .db3 or .bag files.')
    ],
    out: Annotated[Path, OutFolder],
    topics: Annotated[
        str,
        typer.Option(help='Image topics with commas, or name=/topic; all cameras where not given.'),
    ] = '',
    start: Annotated[
        float | None, typer.Option(help='Seconds from the first image, or since 1970.')
    ] = None,
    end: Annotated[float | None, typer.Option(help='The same, for where to end.')] = None,
    every: Annotated[int, typer.Option(min=1, help='One image of so many of each camera.')] = 1,
    labels: Annotated[str, typer.Option(help='Label images: raw, or png.')] = 'raw',
    overlay: Annotated[bool, typer.Option(help='Write overlays too.')] = False,
    tracking: Annotated[bool, typer.Option(help='Give things ids that last over images.')] = False,
    points: Annotated[
        str, typer.Option(help='Labelled points where depth was recorded: none, organised, dense.')
    ] = 'none',
    timing: Annotated[bool, typer.Option(help='Write how long each image took.')] = True,
    copy_inputs: Annotated[bool, typer.Option(help='Write the images themselves too.')] = False,
    weights: Weights = DEFAULT_VARIANT,
    device: Device = 'auto',
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
    batch: Annotated[
        int, typer.Option(min=0, help='Images that the network takes together; 0: by the device.')
    ] = 0,
    part_frames: Annotated[
        int, typer.Option(min=0, help='Images a file of the result; 0: by the length.')
    ] = 0,
    jobs: Annotated[
        int, typer.Option(min=0, help='Recordings at a time, each in a process; 0: by the cores.')
    ] = 0,
) -> None:
    """Segment recordings into new ones with the topics of the node: label images, instances, label
    info, timing. Given again, the same command goes on where it was interrupted.
    """
    from pdl_ros.bags.run_settings import RunSettings

    settings = RunSettings(
        weights=weights,
        device=device,
        engine=engine,
        precision=precision,
        topics=tuple(topic.strip() for topic in topics.split(',') if topic.strip()),
        start=start,
        end=end,
        every=every,
        labels=labels,
        overlay=overlay,
        tracking=tracking,
        points=points,
        timing=timing,
        copy_inputs=copy_inputs,
        batch=batch,
        part_frames=part_frames,
    )
    status = (
        _one(sources[0], out, settings) if len(sources) == 1 else _all(sources, out, settings, jobs)
    )
    if status:
        raise typer.Exit(status)


def _one(source: Path, out: Path, settings: RunSettings) -> int:
    from pdl_ros.bags.plan import make_plan
    from pdl_ros.bags.run_folder import RunFolder
    from pdl_ros.bags.run_settings import BagJob
    from pdl_ros.cli.bag.progress import shown_progress

    job = BagJob(source, out, settings)
    RunFolder(make_plan(job)).check()  # before the network: there may be nothing to do
    precompile.start()
    import_torch()
    from pdl_ros.bags.run import run_bag

    share_one_heap()
    with shown_progress(source.name) as progress:
        report = run_bag(job, progress)
    print_report(report)
    return report.exit_status


def print_report(report: BagReport) -> None:
    """Say what became of a recording."""
    print(f'{report.frames} of {report.total} images of {report.source} are in {report.target}/')
    if report.made < report.frames:
        print(f'  of them were there already: {report.frames - report.made}')
    for note in report.notes:
        print(f'  {note}')
    if report.lost:
        print(f'  lost: {report.lost}')
        for sentence in report.sentences[:_SHOWN]:
            print(f'    {sentence}')
    if not report.whole:
        print(f'  {report.source} is damaged; what of it is whole is in the result')
    if report.failure:
        print(f'  {report.failure}')


def _all(sources: list[Path], out: Path, settings: RunSettings, jobs: int) -> int:
    from pdl_ros.bags.pool import Failure, run_pool
    from pdl_ros.bags.run_settings import BagJob
    from pdl_ros.cli.bag.progress import shown_progress

    names = _names(sources)
    work = [
        BagJob(source, out / name, settings) for source, name in zip(sources, names, strict=True)
    ]
    precompile.wait()
    with shown_progress(f'{len(work)} recordings') as progress:
        outcomes = run_pool(work, jobs, progress)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            print(f'{outcome.job.source} failed: {outcome.reason}')
        else:
            print_report(outcome)
    failed = sum(isinstance(outcome, Failure) for outcome in outcomes)
    if failed == len(outcomes):
        raise PdlError('None of the recordings could be segmented; the reasons are above.')
    return max(1 if isinstance(o, Failure) else o.exit_status for o in outcomes)


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
