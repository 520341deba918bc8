"""Flicker of a clip, for several weights: `pdl_ros bench flicker --source CLIP --weights A`.

What `bag score` counts in a recording (`evaluation/recordings/flicker.py`), of any source of frames
and without a bag: the share of pixels that change their class from one frame to the next although
the picture does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import track as show_progress
from rich.table import Table

from pdl_ros.bench.machine import describe, machine_facts
from pdl_ros.demo.cameras import open_camera
from pdl_ros.errors import require
from pdl_ros.evaluation.recordings.flicker import FlickerCounter, brightness
from pdl_ros.evaluation.recordings.result import FlickerCounts
from pdl_ros.fusion.smoothing import Smoother
from pdl_ros.pipeline import Segmenter
from pdl_ros.sources import Source


def bench_flicker(
    sources: Sequence[str],
    weights: Sequence[str],
    frames: int,
    device: str = 'auto',
    smoothing: bool = False,
) -> dict[str, Any]:
    """Measure at most so many frames of every source with all weights; with `smoothing` also
    smoothed. Raises PdlError for a source without two frames of one size.
    """
    opened = {name: open_camera(name) for name in sources}
    rows = []
    for name in weights:
        segmenter = Segmenter.load(name, device)
        for source in opened.values():
            for smoother in (None, Smoother())[: 1 + smoothing]:
                row = measure(segmenter, source, frames, smoother)
                rows.append({'weights': name, 'smoothing': smoother is not None, **row})
        segmenter.release()
    return {**machine_facts(device), 'rows': rows}


def measure(
    segmenter: Segmenter, source: Source, frames: int, smoother: Smoother | None = None
) -> dict[str, Any]:
    """Return the flicker of a source's first frames. still_share: pixels whose picture does not
    change, of all that are compared; flicker: those of them whose class does, None without any.
    """
    counter, counts, seen = FlickerCounter(), FlickerCounts(), 0
    total = min(frames, source.length or frames)
    for rgb in show_progress(islice(source, frames), source.name, total):
        classes = segmenter.timed(rgb, smoother=smoother)[0].semantic.numpy()
        stamp = round(seen * 1e9 / source.fps)
        counts += counter.update(stamp, classes, brightness(rgb, classes.shape))
        seen += 1
    require(
        counts.compared > 0,
        f'{source.name} has no two successive frames of one size; flicker is what changes between '
        'such.',
    )
    return {
        'source': source.name,
        'frames': seen,
        'still_share': counts.still / counts.compared,
        'flicker': counts.share if counts.still else None,
    }


def print_results(results: dict[str, Any]) -> None:
    """Print the rows as a table, shares in percent."""
    table = Table(box=None)
    for heading in ('source', 'weights', 'smoothed', 'frames', 'still %', 'flicker %'):
        left = heading in ('source', 'weights')
        table.add_column(heading, justify='left' if left else 'right', overflow='fold')
    for row in results['rows']:
        flicker = '–' if row['flicker'] is None else f'{100 * row["flicker"]:.2f}'
        still = f'{100 * row["still_share"]:.1f}'
        smoothed, seen = 'yes' if row['smoothing'] else 'no', str(row['frames'])
        table.add_row(row['source'], row['weights'], smoothed, seen, still, flicker)
    Console().print(table)
    Console().print(describe(results))
