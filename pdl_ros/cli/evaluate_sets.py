"""`pdl_ros evaluate` on the sets of a mixture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdl_ros.runtime.files import write_json

if TYPE_CHECKING:
    from pdl_ros.datasets.groups import Groups
    from pdl_ros.datasets.mixture import MixedSet
    from pdl_ros.labels import LabelSet
    from pdl_ros.pipeline import Segmenter

    OpenSets = tuple[LabelSet, Groups, list[MixedSet]]


def score_sets(
    segmenter: Segmenter,
    file: Path,
    mixture: OpenSets,
    only: list[str],
    images: int,
    ap: str,
    explain: bool,
    sheet: Path | None,
    json_file: Path | None,
    about: dict[str, Any],
) -> None:
    """Score a network on each set of a mixture out of a file, print its table and then the means of
    all, and keep them in another file; draw pictures of each in the folder `sheet`.
    """
    from pdl_ros.datasets.mixture_file import read_mixture, read_network_classes
    from pdl_ros.evaluation.report import print_explanation, print_means, print_table, print_whole
    from pdl_ros.evaluation.sets.run import (
        explain_set,
        judged_sets,
        means_of,
        score_set,
        summary,
        to_dict,
    )
    from pdl_ros.evaluation.sets.sheet import write_sheet

    wanted = only or [*read_mixture(file)[1]]
    if without := sorted({*wanted} - {part.name for part in mixture[2]}):
        print(f'Not scored, as they have no split {about["split"]!r}: {", ".join(without)}')
    scored = []
    of_network = read_network_classes(file, segmenter.label_set)
    sets = judged_sets(*mixture, of_network, images)
    for judged in sets:
        one = (explain_set if explain else score_set)(segmenter, judged, ap)
        print_table(one.scores, one.name)
        print_whole(one.whole_things)
        if one.explanation is not None:
            print_explanation(one.explanation)
        scored.append(one)
    rows = [(one.name, one.scores.images, means_of(one)) for one in scored]
    print_means(rows, summary(scored))
    if json_file is not None:
        write_json(json_file, {**about, 'mixture': str(file), **to_dict(scored)})
    if sheet is not None:  # after the scores, which what goes wrong with pictures must not cost
        for judged in sets:
            print(f'Pictures: {write_sheet(segmenter, judged, mixture[0], of_network, sheet)}')
