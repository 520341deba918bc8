"""The report on a terminal, or on what is none; with rich where it loads."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

from pdl_ros.doctor.finding import DOUBTFUL, MISSING, OK, OPTIONAL, Section
from pdl_ros.doctor.report import can_run, troubles

_MARKS = {OK: 'ok', OPTIONAL: '-', DOUBTFUL: 'look', MISSING: 'MISSING'}
_STYLES = {'ok': 'green', 'passed': 'green', 'look': 'yellow', 'MISSING': 'bold red'}
_STYLES |= {'failed': 'bold red', 'not here': 'dim', '-': 'dim'}


def show_section(section: Section) -> None:
    """Print the findings of a section: a mark, a name, and what was found."""
    show_rows(section.title, [(_MARKS[f.level], f.name, f.found) for f in section.findings])


def show_rows(title: str, rows: Sequence[tuple[str, str, str]], names: int = 0) -> None:
    """Print rows of (mark, name, text) under a title. names: the least width of their column."""
    names = max([names, *(len(name) for _, name, _ in rows)])
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except Exception:  # whatever a broken rich raises
        _show_plainly(title, rows, names)
        return
    table = Table(
        title=title or None, title_justify='left', title_style='bold', show_header=False, box=None
    )
    table.add_column(width=8, no_wrap=True)
    table.add_column(width=names)
    table.add_column(overflow='fold')
    for mark, name, text in rows:
        table.add_row(Text(mark, _STYLES.get(mark, '')), Text(name), Text(text))
    Console(highlight=False).print(table)


def _show_plainly(title: str, rows: Sequence[tuple[str, str, str]], names: int) -> None:
    if title:
        print(title)
    width = shutil.get_terminal_size().columns
    for mark, name, text in rows:
        head = f' {mark:<8} {name:<{names}} '
        print(textwrap.fill(text, width, initial_indent=head, subsequent_indent=' ' * len(head)))


def show_verdict(sections: list[Section]) -> None:
    """Print what is to be done, the most urgent last, and whether the node can run."""
    for level, title in (
        (OPTIONAL, 'Not here, and not needed'),
        (DOUBTFUL, 'Worth a look'),
        (MISSING, 'Missing'),
    ):
        rows = [f'{f.name}: {f.advice}' for f in troubles(sections, level) if f.advice]
        if rows:
            print(f'\n{title}')
        for row in rows:
            _print_wrapped(row, ' - ', '   ')
    print()
    doubts = len(troubles(sections, DOUBTFUL))
    look = (
        f' {doubts} {"thing is" if doubts == 1 else "things are"} worth a look.' if doubts else ''
    )
    if can_run(sections):
        _print_wrapped(f'The node can run here.{look}')
    else:
        names = ', '.join(f.name for f in troubles(sections, MISSING))
        _print_wrapped(f'The node cannot run here, for want of: {names}.{look}')


def _print_wrapped(text: str, first: str = '', others: str = '') -> None:
    print(
        textwrap.fill(
            text,
            shutil.get_terminal_size().columns,
            initial_indent=first,
            subsequent_indent=others,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
