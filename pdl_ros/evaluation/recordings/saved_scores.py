"""Scores of recordings as JSON: what a person or a CI reads, and the counts that merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pdl_ros.errors import PdlError, os_error_reason, printable, require
from pdl_ros.evaluation.arithmetic import checked_count, none_for_nan
from pdl_ros.evaluation.metrics import AP_RULES
from pdl_ros.evaluation.recordings.identities import IdentityCounts
from pdl_ros.evaluation.recordings.result import (
    BagScores,
    FlickerCounts,
    Matching,
    RecordingScore,
    Window,
    WorstFrame,
)
from pdl_ros.evaluation.saved_counts import load_counts, save_counts
from pdl_ros.labels import LabelSet
from pdl_ros.runtime import files

FORMAT = 1
_KEY = 'pdl_ros_bag_scores'


def write_scores(scores: BagScores, path: Path) -> None:
    """Write scores as JSON: those of the whole, then each recording with its windows and counts.

    Qualities are 0..1; null stands for a score without a value. Pictures are left out.
    """
    files.write_json(path, to_dict(scores))


def to_dict(scores: BagScores) -> dict[str, Any]:
    """Return plain data for JSON."""
    return {
        _KEY: FORMAT,
        'frames': scores.matching._asdict(),
        **scores.compute().to_dict(),
        'stability': scores.stability(),
        'label_set': scores.label_set.to_dict(),
        'recordings': [_recording(recording) for recording in scores.recordings],
    }


def read_scores(path: Path) -> list[RecordingScore]:
    """Read the recordings of a file that `write_scores` wrote. Raises PdlError for any other."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {os_error_reason(error)}.') from None
    except (ValueError, RecursionError):
        raise PdlError(f'{path} is no JSON file, or was cut short.') from None
    known = isinstance(data, dict) and data.get(_KEY) == FORMAT
    require(
        known and bool(data.get('recordings')),
        f'{path} holds no scores of recordings; give what `pdl_ros bag score --json` wrote.',
    )
    try:
        label_set = LabelSet.from_dict(data['label_set'])
        rule = data['ap_rule']
        require(rule in AP_RULES, f'{path} names an unknown rule for AP.')
        return [_load(recording, label_set, rule, path) for recording in data['recordings']]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise PdlError(
            f'{path} is damaged: its recordings are not as `pdl_ros bag score --json` wrote them.'
        ) from None


def window_scores(window: Window) -> dict[str, Any]:
    """Return what is shown of a window over time; None for what has no value."""
    images = window.evaluator.images
    scores = window.evaluator.compute() if images else None
    means = {n: getattr(scores, n) if scores else None for n in ('pq', 'sq', 'rq', 'miou', 'ap')}
    return none_for_nan(
        {
            'start': window.start,
            'frames': images,
            **means,
            'flicker': window.flicker.share,
            'id_switches': window.switches,
        }
    )


def _recording(recording: RecordingScore) -> dict[str, Any]:
    ids = recording.identities
    return {
        'name': recording.name,
        'truth': recording.truth,
        'frames': recording.matching._asdict(),
        'is_whole': recording.is_whole,
        'is_tracked': recording.is_tracked,
        'flickers': recording.flickers,
        'notes': recording.notes,
        'identities': None if ids is None else ids._asdict(),
        'worst': [
            {'recording': f.recording, 'stamp': f.stamp, 'pq': f.pq} for f in recording.worst
        ],
        'window': recording.window,
        'windows': [
            {
                **window_scores(window),
                'flicker_counts': list(window.flicker),
                'counts': save_counts(window.evaluator),
            }
            for window in recording.windows
        ],
    }


def _load(data: dict[str, Any], label_set: LabelSet, rule: str, path: Path) -> RecordingScore:
    windows = [
        Window(
            int(w['start']),
            load_counts(w['counts'], label_set, rule, str(path)),
            FlickerCounts(*map(checked_count, w['flicker_counts'])),
            checked_count(w['id_switches']),
        )
        for w in data['windows']
    ]
    if not windows:
        raise ValueError
    ids = data['identities']
    return RecordingScore(
        name=printable(str(data['name'])),
        truth=printable(str(data['truth'])),
        label_set=label_set,
        ap_rule=rule,
        matching=Matching(**_counts(data['frames'])),
        window=checked_count(data['window']),
        windows=windows,
        identities=None if ids is None else IdentityCounts(**_counts(ids)),
        flickers=bool(data['flickers']),
        is_tracked=bool(data['is_tracked']),
        is_whole=bool(data['is_whole']),
        worst=[
            WorstFrame(printable(str(f['recording'])), int(f['stamp']), float(f['pq']), {})
            for f in data['worst']
        ],
        notes=[printable(str(note)) for note in data['notes']],
    )


def _counts(data: dict[str, Any]) -> dict[str, int]:
    return {name: checked_count(number) for name, number in data.items()}
