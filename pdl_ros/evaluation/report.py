"""Show scores to a person, and keep them in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pdl_ros.evaluation.metrics import ClassScores, Scores
from pdl_ros.runtime import files

if TYPE_CHECKING:
    from pdl_ros.evaluation.explain import Explanation

_MEANS = {
    'pq': 'PQ',
    'pq_things': 'things',
    'pq_stuff': 'stuff',
    'pq_whole_things': 'whole',
    'miou': 'mIoU',
    'ap': 'AP',
    'ap50': 'AP50',
}
_AP_NAMES = {'cityscapes': "Cityscapes' rules", 'coco': "COCO's rules"}


def print_table(scores: Scores, name: str = '') -> None:
    """Print the scores as a table in percent: one row a class, then the means. name: of the data,
    where there are several.
    """
    with_ap = scores.ap_rule != 'none'
    more = ('iIoU', 'AP', 'AP50') if with_ap else ('iIoU',)
    title = f'{name}: scores' if name else 'Scores'
    title += f' in percent; images: {scores.images}'
    if with_ap:
        title += f'; AP by {_AP_NAMES[scores.ap_rule]}'
    table = _table(title, 'PQ', 'SQ', 'RQ', 'IoU', *more, 'TP', 'FP', 'FN')
    for c in scores.classes:
        numbers = map(str, (c.tp, c.fp, c.fn))
        table.add_row(c.name, *map(_percent, _qualities(c, with_ap)), *numbers)
    table.add_section()
    means = [scores.pq, scores.sq, scores.rq, scores.miou, scores.iiou]
    means += [scores.ap, scores.ap50] if with_ap else []
    table.add_row('mean', *map(_percent, means))
    table.add_row('things', _percent(scores.pq_things))
    table.add_row('stuff', _percent(scores.pq_stuff))
    Console(markup=False).print(table)
    if scores.ap_details:
        print(', '.join(f'{n} {_percent(v)}' for n, v in scores.ap_details.items()))


def print_whole(things: Mapping[str, float]) -> None:
    """Print PQ of things by class where IoU takes all of a prediction, in percent; nothing where no
    class has a value.
    """
    known = [f'{name} {_percent(value)}' for name, value in things.items() if not math.isnan(value)]
    if known:
        print(f'PQ of whole things, with what lies on unknown ground: {", ".join(known)}')


def print_explanation(explanation: Explanation) -> None:
    """Print what each head costs, what became of the labelled things, and the worst images."""
    told = explanation.to_dict()
    table = _table('Truth in the place of', 'PQ', 'things', 'stuff', 'gain')
    for name, row in told['truth_in_place_of'].items():
        table.add_row(
            name,
            *(_percent(row[key]) for key in ('pq', 'pq_things', 'pq_stuff')),
            _signed(row['gain']),
        )
    Console(markup=False).print(table)
    things = told['things']
    total = sum(row['total'] for row in things.values())
    sizes = list(next(iter(things.values()))['by_size'])
    table = _table(f'What became of {total} labelled things', 'things', '%', *sizes)
    for cause, row in things.items():
        share = _percent(row['total'] / total if total else None)
        table.add_row(cause, str(row['total']), share, *map(str, row['by_size'].values()))
    Console(markup=False).print(table)
    table = _table('Worst images', 'PQ', 'things')
    for frame in told['worst_images']:
        causes = ', '.join(f'{count} {cause}' for cause, count in frame['causes'].items())
        table.add_row(frame['name'], _percent(frame['pq']), causes)
    Console(markup=False).print(table)


def print_means(
    sets: Sequence[tuple[str, int, Mapping[str, float]]], over_all: Mapping[str, float]
) -> None:
    """Print means of several data sets below each other, in percent, and those over all sets.

    sets: of each its name, how many images it has, and its scores by their names; SQ and RQ are not
    shown, as lines are short.
    """
    table = _table('Means over classes, in percent', 'images', *_MEANS.values())
    for name, images, row in sets:
        table.add_row(name, str(images), *(_percent(row[mean]) for mean in _MEANS))
    table.add_section()
    table.add_row('mean', '', *(_percent(over_all[mean]) for mean in _MEANS))
    Console(markup=False).print(table)


def write_json(scores: Scores, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write the scores as JSON, after what `extra` says about the run (checkpoint, data set, …).

    Qualities are 0..1; null stands for a score without a value.
    """
    files.write_json(Path(path), {**(extra or {}), **scores.to_dict()})


def _qualities(c: ClassScores, with_ap: bool) -> tuple[float, ...]:
    shown = (c.pq, c.sq, c.rq, c.iou, c.iiou)
    return (*shown, c.ap, c.ap50) if with_ap else shown


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    table.add_column('')
    for heading in headings:
        table.add_column(heading, justify='right')
    return table


def _percent(value: float | None) -> str:
    return '–' if value is None or math.isnan(value) else f'{100 * value:.1f}'


def _signed(value: float | None) -> str:
    return '–' if value is None else f'{100 * value:+.1f}'
