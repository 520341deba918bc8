"""`pdl_ros bag score`: results in recordings against their truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.evaluate import Ap
from pdl_ros.cli.options import JsonFile, import_torch, writable_file
from pdl_ros.errors import PdlError, require, require_package
from pdl_ros.labels import LabelSet

if TYPE_CHECKING:
    from pdl_ros.evaluation.metrics import Scores
    from pdl_ros.evaluation.recordings.result import BagScores, RecordingScore
    from pdl_ros.evaluation.recordings.score import ScoreSettings

Minimum = float | None


def _minimum(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=f'Exit status 1 below this {what}.')
    return option


def score(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help='Bags with the topics of the node, folders that `infer BAG` wrote, or JSON files '
            'of earlier scores, which are merged.',
            show_default=False,
        ),
    ],
    truth: Annotated[
        list[Path] | None,
        typer.Option(help='A bag or a folder of label PNGs named by stamp; one, or one for each.'),
    ] = None,
    topic: Annotated[str, typer.Option(help='The predicted panoptic images.')] = '',
    truth_topic: Annotated[str, typer.Option(help='The true panoptic images.')] = '',
    tolerance: Annotated[
        float, typer.Option(min=0, help='Milliseconds between the stamps of a pair, at most.')
    ] = 0.0,
    images: Annotated[
        str,
        typer.Option(help='BAG:/topic of what was segmented, where that is not clear, or "none".'),
    ] = '',
    identities: Annotated[
        bool, typer.Option('--identities', help="The truth's instance ids last over frames.")
    ] = False,
    labels: Annotated[
        str | None, typer.Option(help='The label set, where no bag says it: a name or a YAML file.')
    ] = None,
    ap: Ap = 'cityscapes',
    window: Annotated[
        float, typer.Option(min=0, help='Seconds of a point of the curves; 0: what fits.')
    ] = 0.0,
    json_file: JsonFile = None,
    report: Annotated[
        Path | None, typer.Option(callback=writable_file, help='Write a page of HTML here.')
    ] = None,
    min_pq: Annotated[Minimum, _minimum('PQ (0..1)')] = None,
    min_miou: Annotated[Minimum, _minimum('mean IoU (0..1)')] = None,
    min_ap: Annotated[Minimum, _minimum('mean AP (0..1)')] = None,
    min_idf1: Annotated[Minimum, _minimum('IDF1 (0..1)')] = None,
    min_matched: Annotated[Minimum, _minimum('share of labelled frames with a prediction')] = None,
    max_flicker: Annotated[
        Minimum, typer.Option(help='Exit status 1 above this flicker (0..1).')
    ] = None,
) -> None:
    """Score what recordings hold: PQ, mIoU and AP, over the whole and over time, and stability.

    Exit status: 0 all is well, 1 a score is below what was asked for or a recording is damaged, 2
    nothing could be scored.
    """
    require(
        math.isfinite(tolerance) and math.isfinite(window),
        '--tolerance and --window are milliseconds and seconds; give finite numbers.',
    )
    if labels is not None:
        LabelSet.load(labels)  # before PyTorch: it may not be there
    jobs = _jobs(predictions, truth or [])
    if report is not None:
        require_package('matplotlib', 'evaluate')
    import_torch()
    from pdl_ros.evaluation.recordings.report import print_scores, write_report
    from pdl_ros.evaluation.recordings.result import BagScores
    from pdl_ros.evaluation.recordings.saved_scores import write_scores
    from pdl_ros.evaluation.recordings.score import ScoreSettings

    settings = ScoreSettings(round(tolerance * 1e6), ap, window, identities)
    asked = None if labels is None else LabelSet.load(labels)
    recordings, failures = _all(
        jobs, lambda place, true: _score(place, true, topic, truth_topic, images, asked, settings)
    )
    scores = BagScores(recordings)
    total = scores.compute()
    print_scores(scores, total)
    if json_file is not None:
        write_scores(scores, json_file)
    if report is not None:
        write_report(scores, total, report)
        print(f'Report: {report}')
    limits = {
        'PQ': min_pq,
        'mIoU': min_miou,
        'AP': min_ap,
        'IDF1': min_idf1,
        'share of matched frames': min_matched,
    }
    failures += _failures(scores, total, limits, max_flicker)
    if not scores.is_whole:
        failures.append('A recording is damaged, and what could be read of it was scored.')
    if failures:
        print('\n'.join(failures))
        raise typer.Exit(1)


def _jobs(predictions: Sequence[Path], truths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Return what is scored with its truth, and files of scores with None."""
    files = [p for p in predictions if p.suffix.lower() == '.json']
    scored = len(predictions) - len(files)
    require(not scored or bool(truths), 'Give the truth with --truth: a bag or a folder.')
    require(
        len(truths) in (1, scored) or not truths,
        f'{scored} recordings have {len(truths)} truths; give --truth once, or once for each.',
    )
    require(not truths or scored > 0, '--truth is for recordings; files of scores have had theirs.')
    of_each = iter(truths if len(truths) > 1 else list(truths) * scored)
    return [(p, None if p in files else next(of_each)) for p in predictions]


def _all(
    jobs: Sequence[tuple[Path, Path | None]], score_one: Callable[[Path, Path], RecordingScore]
) -> tuple[list[RecordingScore], list[str]]:
    """Return the scores of all recordings, and why some of several are not among them."""
    from pdl_ros.evaluation.recordings.saved_scores import read_scores

    recordings: list[RecordingScore] = []
    failures: list[str] = []
    for place, true in jobs:
        try:
            recordings += read_scores(place) if true is None else [score_one(place, true)]
        except PdlError as error:  # one recording of a fleet costs itself
            if len(jobs) == 1:
                raise
            failures.append(f'{place} is not among the scores: {error}')
    if not recordings:
        raise PdlError(f'None of the {len(jobs)} could be scored; the first: {failures[0]}')
    return recordings, failures


def _score(
    place: Path,
    true: Path,
    topic: str,
    truth_topic: str,
    images: str,
    asked: LabelSet | None,
    settings: ScoreSettings,
) -> RecordingScore:
    from pdl_ros.evaluation.recordings import frames
    from pdl_ros.evaluation.recordings.images import find_pictures, open_images
    from pdl_ros.evaluation.recordings.label_sets import choose_label_set
    from pdl_ros.evaluation.recordings.score import score_recording

    found = frames.open_predictions(place, topic)
    if place.resolve() == true.resolve():
        require(
            bool(truth_topic),
            f'{place} is its own truth; name the topic of the true images with --truth-topic.',
        )
    wanted = frames.open_truth(true, truth_topic)
    if found.where == wanted.where:
        raise PdlError(f'{found.where} cannot be scored against itself; name another truth.')
    label_set = choose_label_set(found, wanted, asked)
    pictures = None
    if images != 'none':
        pictures = open_images(images) if images else find_pictures([place, true])
    return score_recording(found, wanted, label_set, pictures, settings)


def _failures(
    scores: BagScores, total: Scores, limits: Mapping[str, Minimum], max_flicker: Minimum
) -> list[str]:
    """Say which scores are worse than was asked for; one that is not known is."""
    stability, matching = scores.stability(), scores.matching
    known = {
        'PQ': total.pq,
        'mIoU': total.miou,
        'AP': total.ap,
        'IDF1': _number(stability['idf1']),
        'share of matched frames': matching.matched / max(matching.labelled_frames, 1),
    }
    flicker = _number(stability['flicker'])
    failures = [
        f'{name} is {_text(known[name])}, not the {limit:g} at least that was asked for.'
        for name, limit in limits.items()
        if limit is not None and not known[name] >= limit
    ]
    if max_flicker is not None and not flicker <= max_flicker:
        failures.append(
            f'Flicker is {_text(flicker)}, not the {max_flicker:g} at most that was asked for.'
        )
    return failures


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _text(value: float) -> str:
    return 'unknown' if math.isnan(value) else f'{value:.4f}'
