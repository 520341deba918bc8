"""`pdl_ros evaluate`: score weights on labelled images."""

from __future__ import annotations

from pdl_ros.cli.options import (
    DEFAULT_VARIANT,
    Data,
    Device,
    EngineName,
    Flip,
    JsonFile,
    Precision,
    Scales,
    Weights,
    open_dataset,
    open_segmenter,
    require_dataset,
)


def evaluate(
    data: Data,
    weights: Weights = DEFAULT_VARIANT,
    split: str = 'val',
    device: Device = 'auto',
    scales: Scales = '1',
    flip: Flip = False,
    engine: EngineName = 'auto',
    precision: Precision = 'auto',
    json_file: JsonFile = None,
) -> None:
    """Score a checkpoint on labelled images: PQ, SQ, RQ and mIoU."""
    require_dataset(data, split)
    segmenter = open_segmenter(weights, device, scales, flip, engine, precision)
    from pdl_ros.evaluation.report import print_table, write_json
    from pdl_ros.evaluation.run import evaluate as score

    scores = score(segmenter, open_dataset(data, split, segmenter.label_set))
    print_table(scores)
    if json_file is not None:
        views = {'scales': scales, 'flip': flip}
        write_json(scores, json_file, {'weights': weights, 'split': split, **views})
