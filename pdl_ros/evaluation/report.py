"""Show scores to a person, and keep them in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pdl_ros.evaluation.metrics import Scores
from pdl_ros.runtime import files


def print_table(scores: Scores) -> None:
    """Print the scores as a table in percent: one row a class, then the means."""
    table = Table(title=f'Scores in percent; images: {scores.images}')
    table.add_column('')
    for heading in ('PQ', 'SQ', 'RQ', 'IoU', 'TP', 'FP', 'FN'):
        table.add_column(heading, justify='right')
    for c in scores.classes:
        qualities, numbers = (c.pq, c.sq, c.rq, c.iou), (c.tp, c.fp, c.fn)
        table.add_row(c.name, *map(_percent, qualities), *map(str, numbers))
    table.add_section()
    table.add_row('mean', *map(_percent, (scores.pq, scores.sq, scores.rq, scores.miou)))
    table.add_row('things', _percent(scores.pq_things))
    table.add_row('stuff', _percent(scores.pq_stuff))
    Console().print(table)


def write_json(scores: Scores, path: str | Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write the scores as JSON, after what `extra` says about the run (checkpoint, data set, …).

    Qualities are 0..1; null stands for a score without a value.
    """
    files.write_json(Path(path), {**(extra or {}), **scores.to_dict()})


def _percent(value: float) -> str:
    return '–' if math.isnan(value) else f'{100 * value:.1f}'
