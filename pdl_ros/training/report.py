"""A training on one page that needs no other file: curves, scores, the pictures that went worst."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pdl_ros import page
from pdl_ros.errors import require_package
from pdl_ros.training.pictures import WorstPicture


def write_report(
    folder: Path, title: str, scores: Mapping[str, Any] | None, worst: Sequence[WorstPicture]
) -> Path:
    """Write ``folder/report.html`` of the logs and the recipe there; return its path.

    scores: plain data of a scoring (`Scores.to_dict`): `classes` as a list of rows, and maybe
    `confusion`; or under `sets` such data of each set of a mixture by its name.
    """
    require_package('matplotlib', 'train')
    parts = [_curves(folder)]
    sets = scores and (scores.get('sets') or {'': scores})
    for name, of_set in (sets or {}).items():
        where = f'{name}: ' if name else ''
        parts += [page.heading(f'{where}Scores in percent'), page.scores_table(of_set)]
        if of_set.get('confusion'):
            words = 'Pixels of each labelled class by predicted class, in percent'
            parts += [page.heading(where + words), page.confusion_table(of_set)]
    if worst:
        parts.append(page.heading('Most pixels of a wrong class: labels, then prediction'))
        parts += [_pictures(found) for found in worst]
    recipe = folder / 'recipe.yaml'
    if recipe.is_file():
        parts.append(page.heading('Recipe'))
        parts.append(f'<pre>{escape(recipe.read_text("utf-8"))}</pre>')
    path = folder / 'report.html'
    page.write_page(path, title, parts)
    return path


def _pictures(found: WorstPicture) -> str:
    words = f'{found.name}: {100 * found.wrong:.1f} % of the labelled pixels'
    return page.paragraph(words) + ' '.join(map(page.picture, (found.labels, found.prediction)))


def _curves(folder: Path) -> str:
    """Return the losses and the scores over the steps as SVG."""
    from matplotlib.figure import Figure

    losses, scores = _columns(folder / 'log.csv'), _columns(folder / 'validation.csv')
    figure = Figure(figsize=(10, 3.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name in [n for n in losses if n not in ('step', 'lr')]:
        left.semilogy(losses['step'], losses[name], linewidth=0.7, label=name)
    for name in [n for n in ('pq', 'miou') if n in scores]:
        right.plot(scores['step'], 100 * scores[name], marker='o', label=name)
    for axes, words in ((left, 'loss'), (right, 'percent')):
        axes.set(xlabel='step', ylabel=words)
        if axes.lines:
            axes.legend(frameon=False)
    return page.figure(figure)


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Read a CSV of numbers, by column; an empty cell is NaN. Nothing where there are no rows."""
    if not path.is_file():
        return {}
    with path.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    names = rows[0] if rows else ()
    return {name: np.array([float(row[name] or 'nan') for row in rows]) for name in names}
