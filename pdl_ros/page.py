"""Parts of a report on one page of HTML that needs no other file and asks for none."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdl_ros.imaging.files import encode_image
from pdl_ros.runtime.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A browser refuses whatever a page that holds names from elsewhere would ask for.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = (
    'body{font:15px sans-serif;max-width:1000px;margin:2em auto}td,th{padding:2px 10px;'
    'text-align:right}td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}'
    'img{max-width:49%}.three img{max-width:32.5%}svg{max-width:100%;height:auto}'
    'pre{background:#eee}.shares{overflow-x:auto}.shares td,.shares th{padding:2px 5px;'
    'font-size:12px}.shares thead th{writing-mode:vertical-rl}'
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


def write_page(path: Path, title: str, parts: Sequence[str]) -> None:
    """Write a page of parts in HTML under a title, which is plain text."""
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        f'<title>{escape(title)}</title><style>{_STYLE}</style>'
        f'<body><h1>{escape(title)}</h1>{"".join(parts)}</body></html>\n'
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def heading(text: str) -> str:
    """Return a heading."""
    return f'<h2>{escape(text)}</h2>'


def paragraph(text: str) -> str:
    """Return a paragraph of plain text."""
    return f'<p>{escape(text)}</p>'


def bullets(lines: Sequence[str]) -> str:
    """Return a list of lines of plain text; nothing where there are none."""
    items = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<ul>{items}</ul>' if items else ''


def table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table: floats are qualities, shown in percent; None is an empty cell."""
    head = ''.join(f'<th>{escape(name)}</th>' for name in headings)
    body = ''.join(f'<tr>{"".join(map(_cell, row))}</tr>' for row in rows)
    return f'<table><tr>{head}</tr>{body}</table>'


def picture(rgb: np.ndarray) -> str:
    """Return a (H, W, 3) uint8 RGB picture as a JPEG within the page."""
    jpeg = encode_image('.jpg', rgb, 'A picture of the page')
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'


def figure(drawn: Figure) -> str:
    """Return a figure of matplotlib as SVG within the page."""
    text = io.StringIO()
    drawn.savefig(text, format='svg')
    _, tag, rest = text.getvalue().partition('<svg')
    return tag + rest


def scores_table(scores: Mapping[str, Any]) -> str:
    """Return the means in a line, and a table of the classes: a column of what any of them has.

    scores: plain data of a scoring (`Scores.to_dict`).
    """
    classes = scores['classes']
    columns = [n for n in _COLUMNS if any(row.get(n) is not None for row in classes)]
    means = ', '.join(
        f'{name} {100 * value:.1f}' for name, value in scores.items() if isinstance(value, float)
    )
    if 'ap' in columns:
        means += f'; AP by the rules of {scores["ap_rule"]}'
    rows = [[row['name'], *(row.get(name) for name in columns)] for row in classes]
    return paragraph(means) + table(['class', *(_COLUMNS[name] for name in columns)], rows)


def confusion_table(scores: Mapping[str, Any]) -> str:
    """Return the confusion of the classes as a table, darker where the share is larger.

    scores: plain data of a scoring with `classes` and `confusion`.
    """
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
