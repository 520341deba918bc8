"""`pdl_ros export onnx`: a file that was seen to be right, or one sentence and no file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxslim')
pytest.importorskip('onnxruntime')

from pdl_ros.cli import main  # noqa: E402
from pdl_ros.engines import onnx_file  # noqa: E402
from pdl_ros.engines.onnx_file import largest_error  # noqa: E402
from pdl_ros.network import checkpoints  # noqa: E402


def export(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['pdl_ros', 'export', 'onnx', *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_the_shipped_weights_become_a_simplified_file_of_any_size(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'new folder' / 'scene.onnx'
    assert export(monkeypatch, 'scene_tiny', '-o', out) == 0
    assert 'scene_tiny, opset 17' in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ['scene.onnx']
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert not any(node.op_type in ('Constant', 'BatchNormalization') for node in model.graph.node)
    assert {entry.key: entry.value for entry in model.metadata_props}['variant'] == 'scene_tiny'
    network, _ = checkpoints.load('scene_tiny')
    assert largest_error(network, out, [(1, 3, 96, 160), (2, 3, 65, 47)]) < 1e-4


def test_a_fixed_size_and_batch_leave_nothing_to_compute_about_sizes(tmp_path, monkeypatch):
    out = tmp_path / 'fixed.onnx'
    fixed = ('--height', 96, '--width', 160, '--batch', 1)
    assert export(monkeypatch, 'scene_tiny', '-o', out, *fixed) == 0
    assert not {node.op_type for node in onnx.load(out).graph.node} & {'Shape', 'Gather', 'Slice'}


def test_a_file_that_disagrees_with_pytorch_is_refused_and_the_old_one_kept(
    tmp_path, monkeypatch, capsys
):
    def spoiled(model: bytes) -> bytes:
        graph = onnx.load_from_string(model)
        bias = next(w for w in graph.graph.initializer if w.name.endswith('predictor.bias'))
        values = onnx.numpy_helper.to_array(bias) + 3
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return graph.SerializeToString()

    monkeypatch.setattr(onnx_file, '_simplified', spoiled)
    out = tmp_path / 'scene.onnx'
    out.write_bytes(b'the old one')
    assert export(monkeypatch, 'scene_tiny', '-o', out) == 2
    assert 'is not written: ONNX Runtime differs from PyTorch by' in capsys.readouterr().err
    assert out.read_bytes() == b'the old one'
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('scene_tiny', '-o', 'model.pt'), 'model.pt must end in .onnx.'),
        (('scene_tiny', '-o', 'm.onnx', '--height', 64), 'Give both --height and --width'),
        (('scene_tiny', '-o', 'm.onnx', '--batch', 'many'), "--batch is 'many'; it is dynamic"),
        (('scene_tiny', '-o', 'm.onnx', '--batch', '0'), "--batch is '0'; it is dynamic"),
        (('nothing', '-o', 'm.onnx'), "No weights 'nothing'"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_file(
    arguments, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert export(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert sentence in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch, capsys):
    (tmp_path / 'file').write_text('')
    assert export(monkeypatch, 'scene_tiny', '-o', tmp_path / 'file' / 'm.onnx') == 2
    assert 'cannot be a folder' in capsys.readouterr().err
