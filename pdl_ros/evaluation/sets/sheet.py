"""A page of pictures of each set: the image, what the labels say, what the network says."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import cv2
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
from pdl_ros.labels import LabelSet
from pdl_ros.pipeline import Segmenter
from pdl_ros.runtime.files import atomic_write
from pdl_ros.visualization import contact_sheet, overlay, to_width, with_caption, with_legend

ROWS = 8
"""Pictures of a set on its sheet, spread evenly over it."""
_WIDTH = 480  # pixels of a picture
_QUALITY = 88


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
    name = quote(judged.name, safe=' ')  # it is of the mixture's file, and no path
    path = folder / f'{name}.jpg'
    encoded = cv2.imencode('.jpg', sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    with atomic_write(path) as file:
        file.write(encoded.tobytes())
    return path


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
