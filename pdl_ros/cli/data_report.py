"""What a check of a data set found, for a person."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pdl_ros.datasets.check import Report, check
from pdl_ros.datasets.layouts import open_source
from pdl_ros.datasets.mapped import MappedDataset
from pdl_ros.datasets.plausible import require_plausible
from pdl_ros.errors import printable
from pdl_ros.labels import LabelSet

_SHOWN = 5  # faults of a kind
_WIDTH = 104  # of the table, whatever the terminal's: numbers are not broken


def check_split(folder: Path, split: str, label_set: LabelSet) -> Report:
    """Check a split, with a progress bar; raise PdlError where the label set is another's."""
    source = open_source(folder, split, label_set.label_divisor)
    require_plausible(source, label_set)
    dataset = MappedDataset(source, label_set)
    reports = track(check(dataset, split), f'reading {split}', len(dataset), transient=True)
    return deque(reports, 1)[0]


def print_report(report: Report) -> None:
    """Print the layout, the faults, and a table of the classes."""
    console = Console(highlight=False, soft_wrap=True)
    sizes = [f'{w}x{h}' for (w, h), _ in report.sizes.most_common(3)]
    more = f' and {len(report.sizes) - 3} more sizes' if len(report.sizes) > 3 else ''
    console.print(
        f'{report.where}: {report.layout}, split {report.split or "all"}, {report.images} images'
        f'{" of " if sizes else ""}{", ".join(sizes)}{more}, label set {report.label_set.name}',
        markup=False,
    )
    for kind, count in Counter(f.kind for f in report.faults).most_common():
        console.print(f'  {kind}: {count}', markup=False)
        for fault in [f for f in report.faults if f.kind == kind][:_SHOWN]:
            console.print(f'    {printable(fault.says)}', markup=False)
    for class_id, pixels in report.unknown.most_common():
        console.print(f'  class {class_id}, which the label set lacks: {pixels} pixels')
    Console(width=max(console.width, _WIDTH)).print(_table(report))


def print_splits(reports: Sequence[Report]) -> None:
    """Print which classes never occur, or only in some of the splits."""
    absent = defaultdict[str, list[str]](list)
    for i, c in enumerate(reports[0].label_set.classes if reports else ()):
        without = [r.split or 'all' for r in reports if not r.classes[i].images]
        if without:
            where = '' if len(without) == len(reports) else f' in {", ".join(without)}'
            absent[where].append(printable(c.name))
    for where, names in absent.items():
        more = f' and {len(names) - 12} more' if len(names) > 12 else ''
        print(f'No pixel of these classes{where}: {", ".join(names[:12])}{more}.')


def _table(report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column('class', no_wrap=True)
    headings = ('', 'images', 'segments', 'crowds', '% of pixels', 'area, pixels', 'by size')
    for heading in headings:
        table.add_column(heading, justify='right', no_wrap=True)
    for c, count in zip(report.label_set.classes, report.classes, strict=True):
        row = count.to_dict()
        share = f'{100 * count.pixels / report.pixels:.2f}' if report.pixels else '–'
        before = [str(row[k]) for k in ('images', 'segments', 'crowds')]
        area = f'{row["smallest"]} / {row["median"]} / {row["largest"]}'
        by_size = f'{row["small"]} / {row["medium"]} / {row["large"]}'
        after = (area, by_size) if c.is_thing and count.areas else ('', '')
        table.add_row(printable(c.name), 'thing' if c.is_thing else 'stuff', *before, share, *after)
    if report.pixels:
        table.add_row('void', '', '', '', '', f'{100 * report.void / report.pixels:.2f}')
    table.caption = (
        'area: smallest / median / largest thing; by size: below 32² / below 96² / the rest'
    )
    return table
