"""A training on one page that needs no other file: curves, scores, the pictures that went worst."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pdl_ros.errors import require_package
from pdl_ros.runtime.files import atomic_write
from pdl_ros.training.pictures import WorstPicture

_STYLE = (
    'body{font:15px sans-serif;max-width:1000px;margin:2em auto}td,th{padding:2px 10px;'
    'text-align:right}td:first-child{text-align:left}img{max-width:49%}pre{background:#eee}'
    '.shares{overflow-x:auto}.shares td,.shares th{padding:2px 5px;font-size:12px}'
    '.shares thead th{writing-mode:vertical-rl}'
)
_COLUMNS = {
    'pq': 'PQ',
    'iou': 'IoU',
    'ap': 'AP',
    'ap50': 'AP50',
    'sq': 'SQ',
    'rq': 'RQ',
    'iiou': 'iIoU',
    'tp': 'TP',
    'fp': 'FP',
    'fn': 'FN',
}


def write_report(
    folder: Path, title: str, scores: Mapping[str, Any] | None, worst: Sequence[WorstPicture]
) -> Path:
    """Write ``folder/report.html`` of the logs and the recipe there; return its path.

    scores: plain data of a scoring (`Scores.to_dict`): `classes` as a list of rows, and maybe
    `confusion`.
    """
    require_package('matplotlib', 'train')
    parts = [f'<h1>{escape(title)}</h1>', _curves(folder)]
    if scores is not None:
        parts += ['<h2>Scores in percent</h2>', _table(scores)]
        if scores.get('confusion'):
            parts += [
                '<h2>Pixels of each labelled class by predicted class, in percent</h2>',
                _shares(scores),
            ]
    if worst:
        parts.append('<h2>Most pixels of a wrong class: labels, then prediction</h2>')
        parts += [_figure(picture) for picture in worst]
    recipe = folder / 'recipe.yaml'
    if recipe.is_file():
        parts.append(f'<h2>Recipe</h2><pre>{escape(recipe.read_text("utf-8"))}</pre>')
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<style>{_STYLE}</style><body>{"".join(parts)}</body></html>\n'
    )
    path = folder / 'report.html'
    with atomic_write(path) as file:
        file.write(page.encode())
    return path


def _figure(picture: WorstPicture) -> str:
    images = []
    for rgb in (picture.labels, picture.prediction):
        done, jpeg = cv2.imencode('.jpg', rgb[..., ::-1])
        assert done
        images.append(
            f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}">'
        )
    words = f'{picture.name}: {100 * picture.wrong:.1f} % of the labelled pixels'
    return f'<p>{escape(words)}</p>{" ".join(images)}'


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
    text = io.StringIO()
    figure.savefig(text, format='svg')
    return text.getvalue().partition('<svg')[1] + text.getvalue().partition('<svg')[2]


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Read a CSV of numbers; an empty cell is NaN."""
    if not path.is_file():
        return {}
    with path.open(newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or 'nan') for row in rows]) for name in rows[0]}


def _table(scores: Mapping[str, Any]) -> str:
    """Return the means in a line, and a table of the classes: a column of what any of them has."""
    classes = scores['classes']
    columns = [n for n in _COLUMNS if any(row.get(n) is not None for row in classes)]
    head = ''.join(f'<th>{_COLUMNS[name]}</th>' for name in columns)
    rows = ''.join(
        f'<tr><td>{escape(row["name"])}</td>{"".join(_cell(row.get(n)) for n in columns)}</tr>'
        for row in classes
    )
    means = ', '.join(
        f'{name} {100 * value:.1f}' for name, value in scores.items() if isinstance(value, float)
    )
    if 'ap' in columns:
        means += f'; AP by the rules of {scores["ap_rule"]}'
    return f'<p>{escape(means)}</p><table><tr><th>class</th>{head}</tr>{rows}</table>'


def _shares(scores: Mapping[str, Any]) -> str:
    """Return the confusion of the classes as a table, darker where the share is larger."""
    names = [escape(row['name']) for row in scores['classes']]
    head = ''.join(f'<th>{name}</th>' for name in [*names, 'void'])
    rows = ''.join(
        f'<tr><td>{name}</td>{"".join(_share(pixels, sum(row)) for pixels in row)}</tr>'
        for name, row in zip(names, scores['confusion'], strict=True)
    )
    return (
        '<p>Rows: labelled. Columns: predicted. Empty: less than 0.05.</p><div class="shares">'
        f'<table><thead><tr><th></th>{head}</tr></thead>{rows}</table></div>'
    )


def _share(pixels: int, total: int) -> str:
    percent = f'{100 * pixels / max(total, 1):.1f}'
    if percent == '0.0':
        return '<td></td>'
    style = f'background:rgba(70,130,220,{0.8 * pixels / total:.2f})'
    return f'<td style="{style}">{percent}</td>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td>{100 * value:.1f}</td>'
    return f'<td>{"" if value is None else escape(str(value))}</td>'
