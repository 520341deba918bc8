"""`pdl_ros data`: look at a data set before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pdl_ros.cli.options import MIXTURE, JsonFile, OutFile, label_set_of
from pdl_ros.errors import PdlError, require
from pdl_ros.runtime.files import atomic_write, require_writable_file, write_json

if TYPE_CHECKING:
    from pdl_ros.datasets.check import Report

data = typer.Typer(help='Look at data sets, and make label sets of them.', no_args_is_help=True)

Folder = Annotated[
    Path, typer.Argument(help='Folder of a data set of any known layout, or the YAML of a mixture.')
]


@data.command()
def check(
    folder: Folder,
    labels: Annotated[
        str | None, typer.Option(help='Label set (name or YAML); else the one of the data.')
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help='Only this split; may be given several times.')
    ] = None,
    skip: Annotated[
        bool, typer.Option('--skip', help='Leave what cannot be used out from now on, in skip.txt.')
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Say which layout a data set has, what is wrong with it, and what is in it: missing,
    unreadable and odd files, ids without a class, counts and sizes by class.
    """
    if folder.suffix in MIXTURE:
        require(split is None, 'The sets of a mixture have their own splits; leave --split out.')
        _check_mixture(folder, labels, skip, json_file)
        return
    reports, faults = _check_folder(folder, labels, split, skip)
    if json_file is not None:
        write_json(json_file, [report.to_dict() for report in reports])
    if faults:
        raise PdlError(faults)


@data.command()
def labels(folder: Folder, out: Annotated[Path, OutFile]) -> None:
    """Write the label set of a data set as YAML: its names, colours and things, for you to merge,
    rename or ignore.
    """
    label_set = label_set_of(folder, None)
    with atomic_write(out) as file:
        file.write(label_set.to_yaml().encode())
    print(f'{out}: {label_set.num_classes} classes, {len(label_set.thing_ids)} of them things.')


def _check_mixture(file: Path, labels: str | None, skip: bool, json_file: Path | None) -> None:
    """Check the folders of all sets in their own classes, then whether each class has a place."""
    from pdl_ros.datasets.layouts import recognise
    from pdl_ros.datasets.mixture import open_sets
    from pdl_ros.datasets.mixture_file import read_mixture

    found, faults, splits = {}, [], set[str]()
    for name, rules in read_mixture(file)[1].items():
        try:
            own = [rules.split] if rules.split else recognise(rules.folder)[1]
            found[name], fault = _check_folder(rules.folder, labels, own, skip)
        except PdlError as error:
            raise PdlError(f'{file}, set {name!r}: {error}') from None
        splits.update(own)
        faults += [fault] if fault else []
    if json_file is not None:
        write_json(json_file, {n: [r.to_dict() for r in reports] for n, reports in found.items()})
    if faults:
        raise PdlError(' '.join(faults))
    for split in sorted(splits):
        open_sets(file, split)


def _check_folder(
    folder: Path, labels: str | None, split: list[str] | None, skip: bool
) -> tuple[list[Report], str]:
    """Check splits of a folder and print what was found; return it, and what must be done about
    it in a sentence, '' for nothing.
    """
    from pdl_ros.cli.data_report import check_split, print_report, print_splits
    from pdl_ros.datasets.layouts import SKIPPED, find_split, recognise, skip_key

    splits = split or recognise(folder)[1]
    names = [find_split(folder, s)[1] for s in splits]
    label_set = label_set_of(folder, labels)
    if skip:
        require_writable_file(folder / SKIPPED)
    reports = []
    for name in splits:
        reports.append(check_split(folder, name, label_set))
        print_report(reports[-1])
    print_splits(reports)
    bad = [skip_key(n, i) for n, r in zip(names, reports, strict=True) for i in r.fatal]
    if bad and not skip:
        return reports, (
            f'{len(bad)} images of {folder} cannot be used, the first is {bad[0]}; mend them, or '
            'leave them out with --skip.'
        )
    _leave_out(folder / SKIPPED, bad)
    if any(c.pixels for report in reports for c in report.classes):
        return reports, ''
    return (
        reports,
        f'Nothing is labelled in {folder}, in the classes of label set {label_set.name!r}.',
    )


def _leave_out(file: Path, bad: list[str]) -> None:
    """Add images to a list of those that are left out."""
    if not bad:
        return
    there = file.read_text(encoding='utf-8').splitlines() if file.is_file() else []
    with atomic_write(file) as out:
        out.write(''.join(f'{line}\n' for line in [*there, *bad]).encode())
    print(f'{file} leaves {len(bad)} images out.')
