"""`pdl_ros evaluate`: score weights, or files of results, on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdl_ros.cli.evaluate_sets import score_sets
from pdl_ros.cli.options import (
    MIXTURE,
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
from pdl_ros.errors import require, require_package
from pdl_ros.labels import LabelSet
from pdl_ros.network.weight_files import DEFAULT_VARIANT
from pdl_ros.runtime.files import require_writable_folder

if TYPE_CHECKING:
    from pdl_ros.datasets import PanopticDataset
    from pdl_ros.pipeline import Segmenter

# As `AP_RULES` and `FORMATS` of evaluation/, whose import takes seconds.
_RULES = ('cityscapes', 'coco', 'none')
_FORMATS = ('coco', 'cityscapes')


def _rule(name: str) -> str:
    require(name in _RULES, f'--ap is {name!r}; it can be {", ".join(_RULES)}.')
    if name == 'coco':
        require_package('pycocotools', 'evaluate')
    return name


def _format(name: str | None) -> str | None:
    require(
        name is None or name in _FORMATS, f'--write is {name!r}; it can be {" or ".join(_FORMATS)}.'
    )
    return name


Ap = Annotated[
    str, typer.Option(callback=_rule, help='The rules of mask AP: cityscapes, coco or none.')
]
Explain = Annotated[
    bool, typer.Option(help='Say what each head costs and what became of every thing.')
]
Write = Annotated[
    str | None,
    typer.Option(callback=_format, help='Write the results in the format coco or cityscapes.'),
]
Out = Annotated[Path | None, typer.Option('--out', '-o', help='The folder for --write.')]
Files = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, help='Score results in files instead.')
]
Labels = Annotated[
    str | None, typer.Option(help='The label set of --predictions: a name or a YAML file.')
]
Sets = Annotated[
    list[str] | None,
    typer.Option('--set', help='Of a mixture, only this set; may be repeated.'),
]
Sheet = Annotated[
    Path | None,
    typer.Option(help='Write a page of pictures of each set of a mixture into this folder.'),
]
Images = Annotated[
    int, typer.Option(min=0, help='Score so many images only, spread over the split; 0: all.')
]


def evaluate(
    data: Data,
    weights: Weights = DEFAULT_VARIANT,
    split: str = 'val',
    device: Device = 'auto',
    scales: Scales = '1',
    flip: Flip = False,
    engine: EngineName = 'torch',
    precision: Precision = 'fp32',
    ap: Ap = 'cityscapes',
    explain: Explain = False,
    write: Write = None,
    out: Out = None,
    predictions: Files = None,
    labels: Labels = None,
    sets: Sets = None,
    images: Images = 0,
    sheet: Sheet = None,
    json_file: JsonFile = None,
) -> None:
    """Score a checkpoint on labelled images: PQ, mask AP, mIoU and iIoU, in all and by class; on a
    mixture of data sets (a YAML file), set by set. By default in plain fp32, which is the same on
    every machine.
    """
    is_mixture = data.endswith(MIXTURE)
    require(
        is_mixture or not (sets or sheet),
        '--set and --sheet are about the sets of a mixture, whose file --data gives.',
    )
    if predictions is not None:
        require(
            labels is not None and not (explain or write or is_mixture or images),
            '--predictions needs --labels and one data set, all of it, and is neither explained '
            'nor written again.',
        )
        _predictions(predictions, data, split, LabelSet.load(str(labels)), ap, json_file)
        return
    require(labels is None, '--labels is for --predictions; weights bring their own.')
    require((write is None) == (out is None), 'Give --write and --out together, or neither.')
    require(not (explain and write), 'Give --explain or --write; one run does one of them.')
    for folder in (out, sheet):
        if folder is not None:
            require_writable_folder(folder)
    require(not (write and is_mixture), '--write takes one data set; give its folder.')
    if is_mixture:
        from pdl_ros.datasets.mixture import open_sets

        mixture = open_sets(Path(data), split, sets or [])
    else:
        require_dataset(data, split)
    segmenter = open_segmenter(weights, device, scales, flip, engine, precision)
    about = {
        'weights': weights,
        'split': split,
        'scales': scales,
        'flip': flip,
        'engine': f'{segmenter.engine.name} {segmenter.engine.precision}',
    }
    if is_mixture:
        score_sets(
            segmenter, Path(data), mixture, sets or [], images, ap, explain, sheet, json_file, about
        )
        return
    dataset = open_dataset(data, split, segmenter.label_set)
    if images:
        from pdl_ros.datasets.some import EvenlySpread

        dataset = EvenlySpread(dataset, images)
    if explain:
        _explain(segmenter, dataset, ap, json_file, about)
    else:
        _score(segmenter, dataset, ap, json_file, about, write, out)


def _predictions(
    folder: Path, data: str, split: str, label_set: LabelSet, ap: str, json_file: Path | None
) -> None:
    require_dataset(data, split)
    from pdl_ros.evaluation.predictions import open_predictions, score_predictions
    from pdl_ros.evaluation.report import print_table, write_json

    found = open_predictions(folder, label_set)
    scores = score_predictions(found, open_dataset(data, split, label_set), ap_rule=ap)
    print_table(scores)
    if json_file is not None:
        write_json(scores, json_file, {'predictions': str(folder), 'split': split})


def _explain(
    segmenter: Segmenter,
    dataset: PanopticDataset,
    ap: str,
    json_file: Path | None,
    about: dict[str, Any],
) -> None:
    from pdl_ros.evaluation.explain import explain
    from pdl_ros.evaluation.report import print_explanation, print_table, write_json

    scores, explanation = explain(segmenter, dataset, ap_rule=ap)
    print_table(scores)
    print_explanation(explanation)
    if json_file is not None:
        write_json(scores, json_file, {**about, 'explanation': explanation.to_dict()})


def _score(
    segmenter: Segmenter,
    dataset: PanopticDataset,
    ap: str,
    json_file: Path | None,
    about: dict[str, Any],
    write: str | None,
    out: Path | None,
) -> None:
    from pdl_ros.evaluation.report import print_table, write_json
    from pdl_ros.evaluation.run import evaluate
    from pdl_ros.evaluation.submission import open_writer

    writer = open_writer(write, out, segmenter.label_set) if write and out else None
    scores = evaluate(segmenter, dataset, ap_rule=ap, writer=writer)
    print_table(scores)
    if writer is not None:
        writer.close()
    if json_file is not None:
        write_json(scores, json_file, about)
