"""Which label set a prediction and its truth are compared in."""

from __future__ import annotations

from pdl_ros.errors import PdlError, require
from pdl_ros.evaluation.recordings.frames import LabelFrames
from pdl_ros.labels import LabelSet


def choose_label_set(
    predictions: LabelFrames, truth: LabelFrames, asked: LabelSet | None
) -> LabelSet:
    """Return the label set of a prediction and its truth. Raises PdlError where they differ."""
    known = [(frames.where, frames.label_set) for frames in (predictions, truth)]
    named = [(where, found) for where, found in known if found is not None]
    if asked is not None:
        named.insert(0, ('--labels', asked))
    require(
        bool(named),
        f'{predictions.where} says nowhere what its numbers mean (no label_info, no labels.yaml); '
        'give the label set with --labels.',
    )
    (first, label_set), *others = named
    for where, other in others:
        if (other.classes, other.label_divisor) != (label_set.classes, label_set.label_divisor):
            raise PdlError(
                f'{first} has label set {label_set.name!r}, {where} has {other.name!r}, which '
                f'differs in {_difference(label_set, other)}; they must be the same to be compared.'
            )
    return label_set


def _difference(one: LabelSet, other: LabelSet) -> str:
    if one.label_divisor != other.label_divisor:
        return f'label_divisor ({one.label_divisor} and {other.label_divisor})'
    if one.num_classes != other.num_classes:
        return f'the number of classes ({one.num_classes} and {other.num_classes})'
    pairs = zip(one.classes, other.classes, strict=True)
    number, (a, b) = next((n, p) for n, p in enumerate(pairs) if p[0] != p[1])
    return f'class {number} ({a.name!r} and {b.name!r}, its colour or whether it is a thing)'
