"""A training on one page that needs no other file: curves, scores, the pictures that went worst."""

from __future__ import annotations

import base64
import csv
import heapq
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from pdl_ros.datasets import PanopticDataset, Sample
from pdl_ros.errors import require_package
from pdl_ros.labels.label_set import SEMANTIC_VOID
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.files import atomic_write
from pdl_ros.visualization import overlay

_WIDTH = 480  # pixels of a picture on the page
_STYLE = (
    'body{font:15px sans-serif;max-width:1000px;margin:2em auto}td,th{padding:2px 10px;'
    'text-align:right}td:first-child{text-align:left}img{max-width:49%}pre{background:#eee}'
)


class WorstPicture(NamedTuple):
    """A picture with its labels and its prediction side by side, as RGB, and the share of its
    labelled pixels that got a wrong class.
    """

    name: str
    wrong: float
    labels: np.ndarray
    prediction: np.ndarray


def worst_pictures(
    segmenter: Segmenter, dataset: PanopticDataset, count: int = 6
) -> list[WorstPicture]:
    """Segment a data set once more and return the pictures with most pixels of a wrong class."""
    worst: list[tuple[float, int, WorstPicture]] = []
    for index in range(len(dataset)):
        sample = dataset[index]
        result = segmenter(sample.image)
        ids, classes = _truth(sample, dataset.label_set.label_divisor)
        known = classes != SEMANTIC_VOID
        predicted = np.asarray(result.semantic)
        wrong = float((predicted != classes)[known].mean()) if known.any() else 0.0
        if len(worst) < count or wrong > worst[0][0]:
            pictures = (
                overlay(sample.image, labels.astype(np.uint16), dataset.label_set)
                for labels in (ids, np.asarray(result.panoptic))
            )
            entry = (wrong, index, WorstPicture(sample.name, wrong, *map(_small, pictures)))
            (heapq.heappush if len(worst) < count else heapq.heapreplace)(worst, entry)
    return [picture for _, _, picture in sorted(worst, reverse=True)]


def write_report(
    folder: Path, title: str, scores: Mapping[str, Any] | None, worst: Sequence[WorstPicture]
) -> Path:
    """Write ``folder/report.html`` of the logs and the recipe there; return its path.

    scores: plain data of a scoring, with `classes` as a list of rows.
    """
    require_package('matplotlib', 'train')
    parts = [f'<h1>{escape(title)}</h1>', _curves(folder)]
    if scores is not None:
        parts += ['<h2>Scores in percent</h2>', _table(scores)]
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


def _truth(sample: Sample, divisor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample's labels as our panoptic ids and as train ids, both (H, W)."""
    ids = np.full(sample.panoptic.shape, 65535, np.int64)
    classes = np.full(sample.panoptic.shape, SEMANTIC_VOID, np.uint8)
    for number, segment in enumerate(sample.segments, 1):
        inside = sample.panoptic == segment.id
        ids[inside] = segment.class_id * divisor + min(number, divisor - 1)
        classes[inside] = segment.class_id
    return ids, classes


def _small(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (_WIDTH, max(round(height * _WIDTH / width), 1))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


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
    """Return the scores of all classes, and of each, as a table of whatever is in them."""
    classes = scores['classes']
    names = [name for name, value in classes[0].items() if not isinstance(value, str)]
    head = ''.join(f'<th>{escape(name)}</th>' for name in names)
    rows = ''.join(
        f'<tr><td>{escape(row["name"])}</td>{"".join(_cell(row[name]) for name in names)}</tr>'
        for row in classes
    )
    means = ', '.join(
        f'{name} {100 * value:.1f}' for name, value in scores.items() if isinstance(value, float)
    )
    return f'<p>{escape(means)}</p><table><tr><th>class</th>{head}</tr>{rows}</table>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f'<td>{100 * value:.1f}</td>'
    return f'<td>{"" if value is None else escape(str(value))}</td>'
