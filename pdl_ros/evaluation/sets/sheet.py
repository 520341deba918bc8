"""A page of pictures of each set: the image, what the labels say, what the network says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

import numpy as np

from pdl_ros.datasets import Sample
from pdl_ros.datasets.groups import Groups
from pdl_ros.datasets.record import label_values
from pdl_ros.datasets.some import EvenlySpread
from pdl_ros.evaluation.run import count_result
from pdl_ros.evaluation.sets.classes import set_classes
from pdl_ros.evaluation.sets.evaluator import SetEvaluator
from pdl_ros.evaluation.sets.predicted import SetResults
from pdl_ros.evaluation.sets.run import JudgedSet
from pdl_ros.fusion import PanopticResult
from pdl_ros.imaging.files import write_image
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter
from pdl_ros.visualization import contact_sheet, overlay, to_width, with_caption, with_legend

ROWS = 8
"""Pictures of a set on its sheet, spread evenly over it."""
_WIDTH = 480  # pixels of a picture
_QUALITY = 88
_NAME = 200  # bytes, which leaves room for what a file is called until it is whole


def write_sheet(
    segmenter: Segmenter, judged: JudgedSet, label_set: LabelSet, of_network: Groups, folder: Path
) -> Path:
    """Draw some pictures of a set, and return the file ``<set>.jpg``.

    label_set: the mixture's; of_network: what each class of the network is in it. What is unknown
    shows the picture. Under the labels stands how many things there are to find, under the
    prediction how many of them it found, and how many it made up.
    """
    every = set_classes(label_set, (), range(label_set.num_classes), judged.name)
    in_mixture, images = SetResults(of_network, every), EvenlySpread(judged.truth, ROWS)
    rows = []
    for index in range(len(images)):
        sample = images[index]
        result = segmenter(sample.image)
        labels = label_values(sample, judged.truth.label_set)
        drawn = overlay(sample.image, labels, judged.truth.label_set)
        values = in_mixture(result).panoptic.numpy()
        predicted = overlay(sample.image, values, label_set)
        there, found = things_in_words(judged, sample, judged.results(result))
        panels = (sample.image, drawn, predicted)
        texts = (sample.name, there, found)
        rows.append(
            [with_caption(to_width(p, _WIDTH), t) for p, t in zip(panels, texts, strict=True)]
        )
    titles = (f'{judged.name}: image', 'labels', 'prediction')
    sheet = with_legend(contact_sheet(rows, titles, _WIDTH), label_set)
    path = folder / f'{file_name(judged.name)}.jpg'
    write_image(path, sheet, _QUALITY)
    return path


def file_name(name: str) -> str:
    """Return the name of a set, which may be any text, as one that a file can have; of a long one
    the beginning and a digest of the whole, as file systems end names at 255 bytes.
    """
    quoted = quote(name, safe=' ')
    digest = hashlib.sha256(quoted.encode()).hexdigest()[:16]
    return quoted if len(quoted) <= _NAME else f'{quoted[: _NAME - 17]}~{digest}'


def things_in_words(judged: JudgedSet, sample: Sample, result: PanopticResult) -> tuple[str, str]:
    """Say how many things of each class there are, and how many were found and made up."""
    counts = count_result(SetEvaluator(judged.truth), sample, result).segments
    found, false, missed = (np.asarray(c).astype(int) for c in counts[1:])
    classes, there, said = judged.truth.label_set.classes, [], []
    for place in judged.truth.label_set.thing_ids:
        total = found[place] + missed[place]
        if total:
            there.append(f'{total} {classes[place].name}')
        if total or false[place]:
            more = f' (+{false[place]} false)' if false[place] else ''
            said.append(f'{found[place]} of {total} {classes[place].name}{more}')
    return ', '.join(there) or 'nothing to count', ', '.join(said) or 'nothing'
