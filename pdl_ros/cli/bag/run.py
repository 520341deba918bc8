"""`pdl_ros bag run`: recordings in, recordings with the node's topics out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.bag.outcome import print_report
from pdl_ros.cli.bag.several import run_on_ray, run_several
from pdl_ros.cli.options import (
    Device,
    EngineName,
    OutFolder,
    Precision,
    RerunFile,
    Weights,
    import_torch,
)
from pdl_ros.errors import require, require_bag_packages, require_package
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.runtime import precompile
from pdl_ros.runtime.memory import share_one_heap

if TYPE_CHECKING:
    from pdl_ros.bags.run_settings import RunSettings


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
    ray: Annotated[
        str | None, typer.Option(help='Address of a Ray cluster to do it on, or auto; see docs.')
    ] = None,
    ray_cpus: Annotated[
        float, typer.Option(min=1, help='Processors of the cluster for each of its tasks.')
    ] = 4,
    rerun: RerunFile = None,
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
    require(
        rerun is None or len(sources) == 1,
        '--rerun shows one recording; give one, or run it for each.',
    )
    require_bag_packages()
    if rerun is not None:
        require_package('rerun', 'rerun')
    if ray is not None:
        status = run_on_ray(sources, out, settings, ray, ray_cpus)
    elif len(sources) == 1:
        status = _one(sources[0], out, settings)
    else:
        status = run_several(sources, out, settings, jobs)
    if rerun is not None and status < 2:
        _show(sources[0], out, settings, rerun)
    if status:
        raise typer.Exit(status)


def _show(source: Path, out: Path, settings: RunSettings, file: Path) -> None:
    """Write what Rerun shows of a recording and its result, all of it, also after a run went on."""
    from pdl_ros.bags.rerun_of_bag import write_rerun
    from pdl_ros.cli.bag.progress import shown_progress

    with shown_progress(f'{file.name} for Rerun') as progress:
        count = write_rerun(source, out, file, settings.topics, progress)
    print(f'{file} shows {count} images: rerun {file}')


def _one(source: Path, out: Path, settings: RunSettings) -> int:
    from pdl_ros.bags.plan import make_plan
    from pdl_ros.bags.run_folder import RunFolder
    from pdl_ros.bags.run_settings import BagJob
    from pdl_ros.cli.bag.progress import shown_progress

    job = BagJob(source, out, settings)
    plan = make_plan(job)
    RunFolder(plan).check()  # before the network: there may be nothing to do
    precompile.start()
    import_torch()
    from pdl_ros.bags.run import run_bag

    share_one_heap()
    with shown_progress(source.name) as progress:
        report = run_bag(job, progress, plan=plan)
    print_report(report)
    return report.exit_status
