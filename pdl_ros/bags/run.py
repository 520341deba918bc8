"""Segment a recording into a new one: the unit of work of a fleet, with plain arguments."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pdl_ros.bags.frames import LostFrame
from pdl_ros.bags.part_file import PartFile, PartNote
from pdl_ros.bags.plan import Plan, make_plan
from pdl_ros.bags.result_topics import ResultTopics
from pdl_ros.bags.results import ResultMaker
from pdl_ros.bags.run_folder import RunFolder
from pdl_ros.bags.run_settings import BagJob
from pdl_ros.bags.segmenting import MadeFrame, segmented
from pdl_ros.errors import PdlError, os_error_reason, require
from pdl_ros.pipeline import Segmenter

_LOG = logging.getLogger('pdl_ros.bags')
Progress = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""


@dataclass(frozen=True)
class BagReport:
    """What became of a job.

    frames: images in the result, of `total`; made: those of them that were segmented now. lost:
    images that could not be; sentences: why, of the first. notes: what else is to be known. whole:
    nothing is known to be missing from the recording. failure: why the run ended early, '' if it
    did not: the same job goes on where it ended. seconds: on the clock.
    """

    source: Path
    target: Path
    total: int
    frames: int
    made: int
    lost: int
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    whole: bool
    failure: str
    seconds: float

    @property
    def exit_status(self) -> int:
        """0: all is well. 1: images were lost. 2: there is no result."""
        if self.failure or not self.frames:
            return 1 if self.frames else 2
        return 1 if self.lost or not self.whole else 0


def run_bag(
    job: BagJob,
    progress: Progress | None = None,
    parts: Sequence[int] | None = None,
    segmenter: Segmenter | None = None,
    plan: Plan | None = None,
) -> BagReport:
    """Do a job, or the rest of one that was interrupted; return what became of it.

    parts: only these of `count_parts(job)`, as one of several workers on a shared disk;
    `finish_bag` brings them together, and the result is that of one worker to the last byte but for
    the times in `timing`. segmenter: the network, where it is loaded already. plan: of the job,
    where it is made already. Raises PdlError where nothing can be done.
    """
    started, plan = time.monotonic(), plan or make_plan(job)
    folder = RunFolder(plan)
    if folder.is_complete():
        return _report(plan, folder, started, 0)
    require(
        parts is None or not job.settings.tracking,
        'With tracking a recording cannot be divided among workers: ids follow from what came '
        'before.',
    )
    folder.open()
    with folder.locked() if parts is None else contextlib.nullcontext():
        missing = [part for part in folder.missing() if parts is None or part in parts]
        made, failure = _make_parts(plan, folder, missing, progress, segmenter)
        if parts is None:
            _describe(plan, folder, complete=not failure)
    return _report(plan, folder, started, made, failure)


def count_parts(job: BagJob) -> int:
    """Return in how many parts a job can be divided, each of which can be made by itself."""
    return len(make_plan(job).parts)


def finish_bag(job: BagJob) -> BagReport:
    """Bring the parts that workers have made together. Raises PdlError where some are missing."""
    started, plan = time.monotonic(), make_plan(job)
    folder = RunFolder(plan)
    if not folder.is_complete():
        folder.open()
        missing = folder.missing()
        require(not missing, f'{job.target} lacks {len(missing)} of {len(plan.parts)} parts.')
        _describe(plan, folder, complete=True)
    return _report(plan, folder, started, 0)


def _make_parts(
    plan: Plan,
    folder: RunFolder,
    missing: list[int],
    progress: Progress | None,
    segmenter: Segmenter | None,
) -> tuple[int, str]:
    """Make the parts that are missing; return how many images, and why not all."""
    if not missing:
        return 0, ''
    settings = folder.settings()
    owned = segmenter is None
    segmenter = segmenter or settings.open_segmenter()
    settings = settings.resolved(segmenter)
    folder.keep_settings(settings)
    plan = replace(plan, job=replace(plan.job, settings=settings))
    maker = ResultMaker(plan, segmenter.label_set)
    if settings.tracking and missing[0] > 0:
        state = folder.state_after(missing[0] - 1)
        if state is None:
            raise PdlError(
                f'{folder.path} lacks what its next part needs; remove it and begin anew.'
            )
        maker.restore(state)
    try:
        return _write_parts(plan, folder, missing, progress, segmenter, maker)
    finally:
        if owned:
            segmenter.release()


def _write_parts(
    plan: Plan,
    folder: RunFolder,
    missing: list[int],
    progress: Progress | None,
    segmenter: Segmenter,
    maker: ResultMaker,
) -> tuple[int, str]:
    done = sum(plan.kept_in(part) for part in range(len(plan.parts)) if part not in missing)
    made, file = 0, None
    items = segmented(plan, segmenter, maker, missing)
    try:
        with contextlib.closing(items):
            for item in items:
                file = file or PartFile(plan, item.part, maker.topics.topics)
                if isinstance(item, MadeFrame):
                    for written in item.written:
                        file.writer.write(*written)
                    file.note_frame(item.camera, item.stamp_of_header)
                elif isinstance(item, LostFrame):
                    file.note.add_lost(item.sentence)
                else:
                    if plan.settings.tracking:
                        folder.keep_state(item.part, item.state)
                    file.note.notes = list(item.notes)
                    file.finish()
                    made += file.note.frames
                    file = None
                    continue
                done += 1
                if progress is not None:
                    progress(done, plan.count)
    except OSError as error:
        return made, _full(folder, error)
    except PdlError as error:
        if isinstance(error.__cause__, OSError):
            return made, _full(folder, error.__cause__)
        raise
    finally:
        if file is not None:
            file.drop()
    return made, ''


def _full(folder: RunFolder, error: OSError) -> str:
    return (
        f'{folder.path} cannot be written: {os_error_reason(error)}; make room and give the same '
        'command again, to go on after the images that are in it'
    )


def _describe(plan: Plan, folder: RunFolder, complete: bool) -> None:
    topics = ResultTopics(plan).topics
    if complete:
        folder.describe_parts(topics, complete=True)
        return
    with contextlib.suppress(OSError, PdlError):  # the disk is full
        folder.describe_parts(topics, complete=False)


def _report(
    plan: Plan, folder: RunFolder, started: float, made: int, failure: str = ''
) -> BagReport:
    notes = folder.finished()
    return BagReport(
        plan.job.source,
        plan.job.target,
        plan.count,
        sum(note.frames for note in notes),
        made,
        sum(note.lost for note in notes),
        tuple(sentence for note in notes for sentence in note.sentences),
        (*_about_stamps(notes), *sorted({text for note in notes for text in note.notes})),
        plan.bag.is_whole,
        failure,
        time.monotonic() - started,
    )


def _about_stamps(notes: Sequence[PartNote]) -> list[str]:
    earlier, equal = sum(note.earlier for note in notes), sum(note.equal for note in notes)
    said = []
    if earlier:
        said.append(f'stamps that are before that of the image before: {earlier}; they are kept.')
    if equal:
        said.append(f'stamps that are that of the image before: {equal}; they are kept.')
    return said
