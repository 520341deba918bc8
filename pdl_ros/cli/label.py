"""`pdl_ros label`: complete the labels of a data set by what other networks see."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.bag.outcome import print_lost
from pdl_ros.cli.options import OutFolder, writable_file
from pdl_ros.errors import printable, require, require_package

if TYPE_CHECKING:
    from pdl_ros.labels import LabelSet
    from pdl_ros.teachers.network import Teacher

_SHEET = 24  # pictures


def label(
    source: Annotated[
        str,
        typer.Argument(help='YAML of a mixture, data set, folder of pictures, video or bag.'),
    ],
    out: Annotated[Path, OutFolder],
    chosen: Annotated[
        str | None, typer.Option('--set', help='Which set of a mixture, if it has several.')
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Label set (name or YAML); a mixture's is its own.")
    ] = 'street',
    split: Annotated[str, typer.Option(help='Split of a data set, and of what is written.')] = (
        'train'
    ),
    semantic: Annotated[
        Path | None, typer.Option(help='Network that names pixels: .onnx, .xml or .pt.')
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option(help='Network that finds boxes: YOLOX as .onnx or .xml.')
    ] = None,
    described: Annotated[
        list[Path] | None,
        typer.Option(help="YAML of a teacher that lies elsewhere; named as the network's file."),
    ] = None,
    confidence: Annotated[
        float, typer.Option(help='Least probability with which the teacher is believed.')
    ] = 0.8,
    add: Annotated[
        str,
        typer.Option(
            help='What unlabelled pixels may become: all, stuff (where the data label every '
            'thing), or classes with commas.'
        ),
    ] = 'all',
    separate: Annotated[
        str, typer.Option(help='Classes whose instances are split too, such as car,person.')
    ] = '',
    every: Annotated[int, typer.Option(min=1, help='Only every so many-th picture.')] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help='Only so many pictures.')] = None,
    overwrite: Annotated[
        bool, typer.Option('--overwrite', help='Make labels anew that are there.')
    ] = False,
    sheet: Annotated[
        Path | None,
        typer.Option(callback=writable_file, help='Also draw pictures beside their labels here.'),
    ] = None,
    pictures: Annotated[int, typer.Option(min=1, help='Pictures on the sheet.')] = _SHEET,
) -> None:
    """Label pictures by teachers, where the data do not: writes a data set of 16-bit PNGs.

    What the data say stays. Labels that are there already are kept. Exit status 1 where pictures
    were damaged.
    """
    require(
        semantic is not None or boxes is not None,
        'Nobody is there to ask; give a network with --semantic, with --boxes, or both.',
    )
    networks = [network for network in (semantic, boxes) if network is not None]
    for file in described or ():
        require(
            any(file.stem == network.stem for network in networks),
            f'{file} describes none of the networks; it has the name of one, as '
            f'{networks[0].stem}.yaml has.',
        )
    require(
        sheet is None or sheet.suffix in ('.jpg', '.png'),
        f'--sheet {sheet} must end in .jpg or .png.',
    )
    require_package('openvino', 'teacher')
    from rich.progress import track

    from pdl_ros.teachers.boxes import BoxTeacher
    from pdl_ros.teachers.inputs import open_input
    from pdl_ros.teachers.labelling import LabelledFolder, Labeller, label_pictures
    from pdl_ros.teachers.semantic import SemanticTeacher
    from pdl_ros.teachers.settings import LabelSettings
    from pdl_ros.teachers.sheet import write_sheet

    asked = open_input(source, split, labels, chosen)
    base = asked.label_set
    settings = LabelSettings(confidence, added=_added(add, base), separate=_things(separate, base))
    labeller = Labeller(
        base,
        asked.groups,
        settings,
        None if semantic is None else SemanticTeacher(_open(semantic, described), base),
        None if boxes is None else BoxTeacher(_open(boxes, described), base),
    )
    folder = LabelledFolder(out, split, asked, overwrite)
    lost: list[str] = []
    every_one = asked.pictures(lost.append)
    chosen_pictures = itertools.islice(itertools.islice(every_one, 0, None, every), limit)
    total = asked.count and min(-(-asked.count // every), limit or asked.count)
    each = track(chosen_pictures, 'labelling', total, transient=True)
    counts, kept = label_pictures(each, labeller, folder, lost.append)
    for sentence in counts.sentences():
        print(sentence)
    if kept:
        print(f'{kept} pictures had labels in {out} and kept them.')
    print_lost(lost)
    if sheet is not None:
        print(f'{sheet}: {write_sheet(out, split, sheet, pictures)} pictures.')
    if lost or not asked.is_whole:
        raise typer.Exit(1)


def _open(network: Path, described: list[Path] | None) -> Teacher:
    from pdl_ros.teachers.description import TeacherDescription
    from pdl_ros.teachers.network import Teacher

    require(network.is_file(), f'No file {network}; give the network of a teacher.')
    mine = next((file for file in described or () if file.stem == network.stem), None)
    return Teacher(network, TeacherDescription.find(network, mine))


def _added(text: str, label_set: LabelSet) -> tuple[int, ...] | None:
    """Return the train ids that --add names; None: all."""
    if text == 'stuff':
        things = label_set.thing_ids
        return tuple(i for i in range(label_set.num_classes) if i not in things)
    return None if text == 'all' else _named('--add', text, label_set)


def _things(text: str, label_set: LabelSet) -> tuple[int, ...]:
    """Return the train ids of the things that --separate names."""
    ids = _named('--separate', text, label_set)
    for i in ids:
        name = label_set.classes[i].name
        require(i in label_set.thing_ids, f'--separate names {name!r}, which is no thing.')
    return ids


def _named(option: str, text: str, label_set: LabelSet) -> tuple[int, ...]:
    """Return the train ids of names with commas."""
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    wanted = [name.strip() for name in text.split(',') if name.strip()]
    for name in wanted:
        require(
            name in ids,
            f'{option} names {printable(name)!r}, which label set {label_set.name!r} lacks; it has '
            f'{", ".join(ids)}.',
        )
    return tuple(ids[name] for name in wanted)
