"""A picture of `bench engines`: where the time of a frame goes, engine by engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pdl_ros.errors import PdlError, os_error_reason, require_package
from pdl_ros.runtime.files import atomic_write

_STAGES = {'preprocess_ms': '#9aa5b1', 'network_ms': '#3f7cac', 'fusion_ms': '#e08e45'}
_INK = '#333333'


def draw_chart(reports: list[Path], out: Path) -> None:
    """Draw the medians of reports of `bench engines`, one panel for each variant in them. Engines
    that did not keep to the instruction set of their report are left out.

    Raises PdlError when a report cannot be read, holds something else, or matplotlib is missing.
    """
    require_package('matplotlib', 'bench')
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [panel for report in reports for panel in _panels(report)]
    figure = Figure(figsize=(5.6 * len(panels), 2.6), dpi=150, layout='constrained')
    for axes, (title, cases) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        _draw(axes, title, cases)
    figure.legend(
        [name.removesuffix('_ms') for name in _STAGES],
        loc='outside lower center',
        ncols=len(_STAGES),
        frameon=False,
        labelcolor=_INK,
    )
    with atomic_write(out) as file:
        FigureCanvasAgg(figure).print_png(file)


def _panels(report: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    try:
        found = json.loads(report.read_text(encoding='utf-8'))
        height, width = found['size']
        variants = list(dict.fromkeys(case['variant'] for case in found['cases']))
        if not variants:
            raise ValueError('no cases')
        isa = found.get('instruction_set', '')
        machine = f'{found["processor"]}{f" ({isa})" if isa else ""}, {found["threads"]} threads'
        return [
            (
                f'{variant}, {height}×{width}\n{machine}',
                [
                    _bar(case)
                    for case in found['cases']
                    if case['variant'] == variant
                    and 'why_not' not in case
                    and case.get('instruction_set', isa) == isa
                ],
            )
            for variant in variants
        ]
    except OSError as error:
        raise PdlError(f'{report} cannot be read: {os_error_reason(error)}.') from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise PdlError(f'{report} is no report of `pdl_ros bench engines --json`.') from None


def _bar(case: dict[str, Any]) -> dict[str, Any]:
    """Return what is drawn of a case, checked."""
    medians = {name: float(case[name][0]) for name in (*_STAGES, 'total_ms')}
    times = case.get('times_published')
    runs = f' = {case["runs"]}' if case.get('runs') else ''
    return {'engine': f'{case["engine"]}{runs}', 'times': times and float(times), **medians}


def _draw(axes: Any, title: str, cases: list[dict[str, Any]]) -> None:
    """Stack the stages of each engine to a bar, the published way on top."""
    names = [case['engine'] for case in cases]
    left = [0.0] * len(cases)
    for stage, color in _STAGES.items():
        times = [case[stage] for case in cases]
        axes.barh(names, times, left=left, color=color, height=0.7)
        left = [a + b for a, b in zip(left, times, strict=True)]
    for row, (case, end) in enumerate(zip(cases, left, strict=True)):
        faster = case['times']
        ratio = f'  ({faster:.1f}×)' if faster and faster != 1 else ''
        axes.annotate(f' {_duration(case["total_ms"])}{ratio}', (end, row), va='center', color=_INK)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * max(left))
    axes.set_title(title, fontsize=9, color=_INK)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0, labelcolor=_INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _duration(milliseconds: float) -> str:
    return f'{milliseconds:.0f} ms' if milliseconds < 1000 else f'{milliseconds / 1000:.1f} s'
