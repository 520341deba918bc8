"""What became of recordings, for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pdl_ros.errors import PdlError

if TYPE_CHECKING:
    from pdl_ros.bags.pool import Failure
    from pdl_ros.bags.run import BagReport

_SHOWN = 5  # sentences about lost images


def print_report(report: BagReport) -> None:
    """Say what became of a recording."""
    print(f'{report.frames} of {report.total} images of {report.source} are in {report.target}/')
    if report.made < report.frames:
        print(f'  of them were there already: {report.frames - report.made}')
    for note in report.notes:
        print(f'  {note}')
    print_lost(report.sentences, report.lost)
    if not report.whole:
        print(f'  {report.source} is damaged; what of it is whole is in the result')
    if report.failure:
        print(f'  {report.failure}')


def print_lost(sentences: Sequence[str], count: int | None = None) -> None:
    """Say how many images were lost, as many as there are sentences if None, and why the first."""
    count = len(sentences) if count is None else count
    if count:
        print(f'  lost: {count}')
        for sentence in sentences[:_SHOWN]:
            print(f'    {sentence}')


def say_all(outcomes: Sequence[BagReport | Failure]) -> int:
    """Say what became of recordings; return the exit status."""
    from pdl_ros.bags.pool import Failure

    for outcome in outcomes:
        if isinstance(outcome, Failure):
            print(f'{outcome.job.source} failed: {outcome.reason}')
        else:
            print_report(outcome)
    failed = sum(isinstance(outcome, Failure) for outcome in outcomes)
    if failed == len(outcomes):
        raise PdlError('None of the recordings could be segmented; the reasons are above.')
    return max(1 if isinstance(o, Failure) else o.exit_status for o in outcomes)
