"""`pdl_ros evaluate`: one command scores, explains, writes, and scores what was written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pdl_ros.cli import evaluate as command
from pdl_ros.cli import main
from pdl_ros.evaluation.metrics import AP_RULES
from pdl_ros.evaluation.submission import FORMATS

from .street_files import write_streets


@pytest.fixture(scope='module')
def streets(tmp_path_factory) -> Path:
    return write_streets(tmp_path_factory.mktemp('streets') / 'drawn')


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'evaluate', *map(str, arguments)])
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_results_are_scored_written_and_scored_from_their_files(
    streets, tmp_path, monkeypatch, capsys
):
    data = ('--data', streets, '--ap', 'coco')
    used = ('--weights', 'scene_tiny', '--device', 'cpu')
    out, first, second = tmp_path / 'out', tmp_path / 'a.json', tmp_path / 'b.json'
    wrote = ('--write', 'cityscapes', '-o', out, '--json', first)
    assert run(monkeypatch, *data, *used, *wrote) == 0
    files = ('--predictions', out, '--labels', 'scene', '--json', second)
    assert run(monkeypatch, *data, *files) == 0
    before, after = (json.loads(file.read_text()) for file in (first, second))
    for name in ('pq', 'ap', 'ap50', 'miou', 'iiou', 'classes', 'ap_details'):
        assert after[name] == before[name]
    assert before['ap_rule'] == 'coco'
    assert before['engine'] == 'torch fp32', 'scores depend on what this machine runs fastest'
    said = capsys.readouterr().out
    assert "COCO's rules" in said
    assert 'ap_small' in said


def test_an_explanation_is_printed_and_kept(streets, tmp_path, monkeypatch, capsys):
    file = tmp_path / 'why.json'
    status = run(monkeypatch, '--data', streets, '--weights', 'scene_tiny', '--device', 'cpu',
                 '--explain', '--flip', '--json', file)  # fmt: skip
    assert status == 0
    told = json.loads(file.read_text())['explanation']
    assert told['truth_in_place_of']['semantics + centres + offsets']['pq_things'] == 1
    assert 'What became of' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--ap', 'voc'], "--ap is 'voc'; it can be cityscapes, coco, none"),
        (['--write', 'yolo', '-o', 'x'], "--write is 'yolo'"),
        (['--write', 'coco'], 'Give --write and --out together'),
        (['--explain', '--write', 'coco', '-o', 'x'], 'Give --explain or --write'),
        (['--labels', 'camvid'], '--labels is for --predictions'),
        (['--predictions', '.'], '--predictions needs --labels'),
        (['--predictions', '.', '--labels', 'scene'], 'neither panoptic.json nor'),
    ],
)
def test_a_users_mistake_is_one_sentence(arguments, says, streets, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, '--data', streets, *arguments) == 2
    said = capsys.readouterr().err
    assert says in said
    assert 'Traceback' not in said


def test_the_command_offers_what_the_evaluation_has():
    assert command._RULES == AP_RULES
    assert command._FORMATS == FORMATS
