"""Published parameter names in terms of ours, and the deterministic weights that the fixtures were
made with.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import torch
from torch import Tensor

_BLOCK = r'(weight|bias|running_mean|running_var)'
_DETECTRON2 = (
    (r'^backbone\.stem\.conv(\d)\.norm\.', r'backbone.bn\1.'),
    (r'^backbone\.stem\.', 'backbone.'),
    (r'\.res(\d)\.(\d+)\.', lambda m: f'.layer{int(m[1]) - 1}.{m[2]}.'),
    (r'shortcut\.norm', 'downsample.1'),
    (r'shortcut\.weight', 'downsample.0.weight'),
    (r'(layer.*)conv(\d)\.norm', r'\1bn\2'),
    (r'^sem_seg_head\.decoder', 'semantic_decoder'),
    (r'^ins_embed_head\.decoder', 'instance_decoder'),
    (r'^sem_seg_head\.head', 'semantic_head.block'),
    (r'^sem_seg_head\.predictor', 'semantic_head.predictor'),
    (r'^ins_embed_head\.(center|offset)_head', r'\1_head.block'),
    (r'^ins_embed_head\.(center|offset)_predictor', r'\1_head.predictor'),
    (r'decoder\.res5\.project_conv\.convs\.4\.1', 'decoder.aspp.pool'),
    (r'decoder\.res5\.project_conv\.convs', 'decoder.aspp.branches'),
    (r'decoder\.res5\.project_conv\.project', 'decoder.aspp.project'),
    (r'decoder\.res(\d)\.(project|fuse)_conv', lambda m: f'decoder.{m[2]}.{3 - int(m[1])}'),
    (
        r'^((?:semantic|instance|center|offset)_(?:decoder|head)(?!.*(?:predictor|aspp\.pool)).*)\.weight$',
        lambda m: m[0] if m[1].endswith('norm') else f'{m[1]}.conv.weight',
    ),
)
_AUTHORS = (
    (r'^decoder\.(semantic|instance)_decoder', r'\1_decoder'),
    (r'^decoder\.(?:semantic|instance)_head\.classifier\.(\w+)\.1\.', r'\1_head.predictor.'),
    (r'^decoder\.(?:semantic|instance)_head\.classifier\.(\w+)\.0\.', r'\1_head.block.'),
    (r'aspp\.convs\.4\.aspp_pooling\.1', 'aspp.pool'),
    (r'aspp\.convs', 'aspp.branches'),
    (r'(fuse\.\d|block)\.0\.0\.0', r'\1.depthwise.conv'),
    (r'(fuse\.\d|block)\.0\.0\.1', r'\1.depthwise.norm'),
    (r'(fuse\.\d|block)\.0\.1', r'\1.pointwise.conv'),
    (r'(fuse\.\d|block)\.0\.2', r'\1.pointwise.norm'),
    (r'(aspp\.project|project\.\d|branches\.\d)\.0\.', r'\1.conv.'),
    (r'(aspp\.project|project\.\d|branches\.\d)\.1\.', r'\1.norm.'),
)


def filled_weights(fixtures: Path, keys_file: Path) -> dict[str, Tensor]:
    """Fill a published architecture's keys as the fixtures did, and return them under our names."""
    spec = importlib.util.spec_from_file_location('fill', fixtures / 'fill.py')
    assert spec is not None and spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    rules = _DETECTRON2 if 'detectron2' in keys_file.name else _AUTHORS
    weights = {}
    for key, shape, dtype in json.loads(keys_file.read_text()):
        name = key
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        weights[name] = fill.fill_value(key, shape, dtype)
    return weights


def relative_error(ours: Tensor, published: object) -> float:
    """Return the largest difference over the largest published value."""
    expected = torch.as_tensor(published)
    return float((ours - expected).abs().max() / expected.abs().max())
