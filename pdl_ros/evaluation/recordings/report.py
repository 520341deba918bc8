"""Scores of recordings on a terminal, and on one page of HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from pdl_ros import page
from pdl_ros.errors import require_package
from pdl_ros.evaluation.metrics import Scores
from pdl_ros.evaluation.recordings.result import BagScores, RecordingScore
from pdl_ros.evaluation.recordings.saved_scores import window_scores
from pdl_ros.evaluation.report import print_table

_WORST = 6
_PLOTS = (
    ('percent', {'pq': 'PQ', 'sq': 'SQ', 'rq': 'RQ'}, 100),
    ('percent', {'miou': 'mIoU', 'ap': 'AP'}, 100),
    ('percent', {'flicker': 'flicker'}, 100),
    ('number', {'id_switches': 'id switches'}, 1),
)


def print_scores(scores: BagScores, total: Scores) -> None:
    """Print the classes, how many frames matched, what is known of stability, and the notes."""
    console = Console(highlight=False, soft_wrap=True)
    print_table(total)
    for recording in scores.recordings:
        console.print(_matched(recording), markup=False)
        for note in recording.notes:
            console.print(f'  {note}', markup=False)
    if len(scores.recordings) > 1:
        matching = scores.matching
        console.print(
            f'All {len(scores.recordings)} recordings: {matching.matched} of '
            f'{matching.labelled_frames} labelled frames have a prediction.'
        )
    for line in _stability(scores):
        console.print(line)


def write_report(scores: BagScores, total: Scores, path: Path) -> None:
    """Write a page: scores, curves over time, classes, confusion, stability, the worst frames."""
    require_package('matplotlib', 'evaluate')
    plain = total.to_dict()
    first, *others = scores.recordings
    if others:
        title = f'Scores of {len(scores.recordings)} recordings'
        lines = list(dict.fromkeys(note for r in scores.recordings for note in r.notes))
        parts = [page.heading('Recordings, in percent'), _recordings(scores.recordings)]
    else:
        title, lines, parts = f'Scores of {first.name}', [_matched(first), *first.notes], []
    parts += [
        page.bullets(lines),
        page.heading('Over time'),
        _curves(scores),
        page.heading('Scores in percent'),
        page.scores_table(plain),
        page.heading('Stability'),
        page.bullets(_stability(scores) or ['Nothing of it could be counted.']),
        page.heading('Pixels of each labelled class by predicted class, in percent'),
        page.confusion_table(plain),
    ]
    parts += _worst(scores)
    page.write_page(path, title, parts)


def _matched(recording: RecordingScore) -> str:
    matching = recording.matching
    return (
        f'{recording.name}: {matching.matched} of {matching.labelled_frames} labelled frames have '
        f'a prediction ({matching.predicted_frames} predicted frames; truth: {recording.truth}).'
    )


def _stability(scores: BagScores) -> list[str]:
    """Say what is known of stability, a line each."""
    lines, flicker, ids = [], scores.flicker, scores.identities
    if flicker is not None and not flicker.still:
        lines.append('Flicker: no two successive frames have pixels that do not change.')
    elif flicker is not None:
        lines.append(
            f'Flicker: {100 * flicker.share:.2f} % of the pixels that do not change get another '
            f'class from frame to frame; {100 * flicker.still / max(flicker.compared, 1):.0f} % of '
            'all pixels do not change.'
        )
    if ids is not None:
        what = 'tracks' if all(r.is_tracked for r in scores.recordings) else 'running numbers'
        lines.append(
            f'Identities, by {what}: {ids.switches} id switches, MOTA {100 * ids.mota:.1f}, IDF1 '
            f'{100 * ids.idf1:.1f}; {ids.matches} of {ids.objects} labelled things found, '
            f'{ids.predictions} predicted.'
        )
    return lines


def _recordings(recordings: Sequence[RecordingScore]) -> str:
    rows: list[list[Any]] = []
    for recording in recordings:
        one = BagScores([recording])
        total, stability = one.compute().to_dict(), one.stability()
        values = [total[name] for name in ('pq', 'sq', 'rq', 'miou', 'ap')]
        matching = recording.matching
        frames = f'{matching.matched} of {matching.labelled_frames}'
        rows.append([recording.name, frames, *values, stability['flicker']])
    headings = ['recording', 'frames', 'PQ', 'SQ', 'RQ', 'mIoU', 'AP', 'flicker']
    return page.table(headings, rows)


def _curves(scores: BagScores) -> str:
    """Return what there is of the windows over time as SVG, recordings one after another."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    times, rows, borders, end = list[float](), list[dict[str, Any]](), list[float](), 0.0
    for recording in scores.recordings:
        first = recording.windows[0].start
        borders.append(end)
        for window in recording.windows:
            middle = window.start - first + recording.window / 2
            times.append(borders[-1] + middle / 1e9)
            rows.append(window_scores(window))
        end = times[-1] + recording.window / 2e9
    if scores.identities is None:
        rows = [{**row, 'id_switches': None} for row in rows]
    plots = []
    for words, names, factor in _PLOTS:
        there = {n: t for n, t in names.items() if any(row[n] is not None for row in rows)}
        if there:
            plots.append((words, there, factor))
    figure = Figure(figsize=(10, 2.1 * len(plots)), layout='constrained')
    for axes, (words, names, factor) in zip(
        figure.subplots(len(plots), 1, sharex=True, squeeze=False)[:, 0], plots, strict=True
    ):
        highest = 0.0
        for name, label in names.items():
            values = [math.nan if row[name] is None else factor * row[name] for row in rows]
            highest = max(highest, np.nanmax(values))
            axes.plot(times, values, marker='.', label=label)
        for border in borders[1:]:
            axes.axvline(border, color='#bbb', linewidth=0.8)
        axes.set_ylabel(words)
        axes.set_ylim(0, 1.08 * highest or 1)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=factor == 1))
        axes.legend(frameon=False, loc='center left', bbox_to_anchor=(1, 0.5))
        axes.grid(axis='y', alpha=0.3)
    axes.set_xlim(0, end)
    axes.set_xlabel(
        f'seconds after {_moment(scores.recordings[0].windows[0].start)}'
        if len(scores.recordings) == 1
        else 'seconds, one recording after another'
    )
    lengths = sorted({recording.window / 1e9 for recording in scores.recordings})
    words = ' to '.join(f'{seconds:g}' for seconds in {lengths[0]: 0, lengths[-1]: 0})
    return page.figure(figure) + page.paragraph(
        f'A point is a window of {words} s: the score of its frames, not their mean.'
    )


def _worst(scores: BagScores) -> list[str]:
    """Return the worst frames, with their pictures where these are still there."""
    frames = scores.worst(_WORST)
    if not frames:
        return []
    parts = [page.heading('The worst frames, by the mean PQ of the classes in them')]
    several = len(scores.recordings) > 1
    for frame in frames:
        where = f' of {frame.recording}' if several else ''
        shown = f': {", ".join(frame.pictures)}' if frame.pictures else ''
        parts.append(
            page.paragraph(f'PQ {100 * frame.pq:.1f} at the stamp {frame.stamp}{where}{shown}')
        )
        pictures = ' '.join(map(page.picture, frame.pictures.values()))
        parts.append(f'<div class="three">{pictures}</div>')
    return parts


def _moment(stamp: int) -> str:
    """Return a stamp as a time where it is one, not seconds since a robot was switched on."""
    try:
        moment = datetime.fromtimestamp(stamp / 1e9, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return f'stamp {stamp}'
    return f'{moment:%Y-%m-%d %H:%M:%S} UTC' if moment.year > 1980 else f'stamp {stamp}'
