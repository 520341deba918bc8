"""Files of weights are opened whoever wrote them, and nothing in them is ever executed."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from pdl_ros.errors import PdlError
from pdl_ros.network.formats import open_weights

WEIGHT, BIAS = torch.arange(6.0).view(2, 3), torch.tensor([0.5, -0.5])


def pickled(content: object, path: Path, protocol: int = 2) -> None:
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def arrays() -> dict[str, np.ndarray]:
    return {'a.weight': WEIGHT.numpy(), 'a.bias': BIAS.numpy()}


def tensors() -> OrderedDict[str, torch.Tensor]:
    return OrderedDict({'a.weight': WEIGHT, 'a.bias': BIAS})


PUBLISHED = {
    "detectron2's zoo": lambda f: pickled({'model': arrays(), '__author__': 'Zoo'}, f),
    "detectron2's zoo, newer pickle": lambda f: pickled({'model': arrays()}, f, 5),
    'an encoder for detectron2': lambda f: pickled(
        {'model': tensors(), '__author__': 'third_party', 'matching_heuristics': True}, f
    ),
    "detectron2's training": lambda f: torch.save(
        {'model': tensors(), 'optimizer': {'state': {}}, 'iteration': 3}, f
    ),
    "the authors' final state": lambda f: torch.save(tensors(), f),
    "the authors' final state of 2020": lambda f: torch.save(
        tensors(), f, _use_new_zipfile_serialization=False
    ),
    "the authors' checkpoint": lambda f: torch.save(
        {'start_iter': 9, 'state_dict': tensors(), 'optimizer': {}, 'lr_scheduler': {}}, f
    ),
    'parameters instead of tensors': lambda f: torch.save(
        {key: torch.nn.Parameter(value) for key, value in tensors().items()}, f
    ),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_every_published_container_gives_its_tensors(name, tmp_path):
    file = tmp_path / 'a.weights'  # the name of a file tells nothing
    PUBLISHED[name](file)
    contents = open_weights(file)
    assert list(contents.tensors) == ['a.weight', 'a.bias']
    assert torch.equal(contents.tensors['a.weight'], WEIGHT)
    assert torch.equal(contents.tensors['a.bias'], BIAS)
    assert all(isinstance(value, torch.Tensor) for value in contents.tensors.values())


def test_python_2_pickles_of_the_zoo_are_read(tmp_path):
    # What Python 2 wrote: byte strings that are no ASCII, and NumPy's old module names.
    raw = pickle.dumps({'model': arrays()}, protocol=2).replace(b'numpy._core', b'numpy.core')
    (tmp_path / 'a.pkl').write_bytes(raw)
    assert torch.equal(open_weights(tmp_path / 'a.pkl').tensors['a.weight'], WEIGHT)
    big_endian = {'model': {'a': WEIGHT.numpy().astype('>f4')}}
    pickled(big_endian, tmp_path / 'b.pkl')
    assert torch.equal(open_weights(tmp_path / 'b.pkl').tensors['a'], WEIGHT)


# --- hostile files --------------------------------------------------------------------------------


class Trap:
    """Make a file when it is unpickled by someone careless."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


class Call:
    """Call anything with anything when unpickled."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refusal(file: Path) -> str:
    with pytest.raises(PdlError) as error:
        open_weights(file)
    sentence = str(error.value)
    assert str(file) in sentence
    assert '\n' not in sentence
    return sentence


@pytest.mark.parametrize('write', [torch.save, pickled], ids=['PyTorch', 'pickle'])
@pytest.mark.parametrize('wrap', [lambda x: {'model': {'a': x}}, lambda x: x, lambda x: {x: 1}])
def test_code_in_a_downloaded_file_is_not_run_and_named(tmp_path, write, wrap):
    trace, file = tmp_path / 'trace', tmp_path / 'evil.pkl'
    write(wrap(Trap(trace)), file)
    assert 'Path' in refusal(file) or 'touch' in refusal(file) or 'getattr' in refusal(file)
    assert not trace.exists()
    if write is pickled:
        pickle.loads(file.read_bytes())
    else:
        torch.load(file, weights_only=False)
    assert trace.exists()  # the trap itself works


@pytest.mark.parametrize(
    ('what', 'named'),
    [
        (Call(eval, '1+1'), 'builtins.eval'),
        (Call(exec, 'pass'), 'builtins.exec'),
        (Call(getattr, 'a', 'upper'), 'builtins.getattr'),
        (Call(__import__, 'os'), 'builtins.__import__'),
        (np.random.default_rng(0), 'numpy.random'),
    ],
)
def test_a_class_outside_the_list_is_refused_by_its_name(tmp_path, what, named):
    pickled({'model': {'a': what}}, tmp_path / 'a.pkl')
    assert named.split('.')[1] in refusal(tmp_path / 'a.pkl').replace('__builtin__', 'builtins')


def test_a_trap_inside_the_storage_of_a_pickled_tensor_is_not_sprung(tmp_path):
    trace = tmp_path / 'trace'
    inner = tmp_path / 'inner'
    torch.save(Trap(trace), inner)
    raw = Call(torch.storage._load_from_bytes, inner.read_bytes())
    pickled({'model': {'a': raw}}, tmp_path / 'a.pkl')
    refusal(tmp_path / 'a.pkl')
    assert not trace.exists()


def test_compressed_text_is_not_inflated(tmp_path):
    import _codecs

    pickled({'model': {'a': Call(_codecs.encode, 'x' * 100, 'zlib')}}, tmp_path / 'a.pkl')
    refusal(tmp_path / 'a.pkl')


LFS_POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 1234\n'
DAMAGED = {
    'empty': (b'', 'is empty'),
    'web page': (b'\n<!DOCTYPE html><html>Quota exceeded</html>', 'is a web page'),
    'web page without a doctype': (b'<html><body>Sign in</body></html>', 'is a web page'),
    'git lfs pointer': (LFS_POINTER, 'Git LFS pointer'),
    'bytes': (bytes(range(1, 256)) * 4, 'not a file of weights'),
    'text': (b'hello', 'not a file of weights'),
    'huge header': (b'\xff' * 8 + b'{' + b'\xff' * 100, 'not a readable safetensors'),
    'half a pickle': (pickle.dumps({'model': arrays()}, protocol=2)[:90], 'not a readable pickle'),
    'half a zip': (b'PK\x03\x04' + bytes(50), 'not a readable PyTorch file'),
    'a number': (pickle.dumps(3, protocol=2), 'no state dict'),
    'an empty dictionary': (pickle.dumps({}, protocol=2), 'no state dict'),
    'an empty model': (pickle.dumps({'model': {}}, protocol=2), 'no state dict'),
    'words': (pickle.dumps({'a.weight': 'heavy'}, protocol=2), "'a.weight' is str"),
    'objects': (pickle.dumps({'a': np.array([None])}, protocol=2), "'a' is ndarray"),
    'numbered': (pickle.dumps({1: WEIGHT.numpy()}, protocol=2), 'names a tensor 1'),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_file_of_another_kind_is_refused_in_one_sentence_that_says_which(name, tmp_path):
    content, says = DAMAGED[name]
    file = tmp_path / 'a.pkl'
    file.write_bytes(content)
    assert says in refusal(file)


def test_a_folder_or_missing_file_is_refused(tmp_path):
    assert 'cannot be read' in refusal(tmp_path)
    assert 'cannot be read' in refusal(tmp_path / 'nowhere.pkl')


@pytest.mark.parametrize('name', PUBLISHED)
@pytest.mark.parametrize('share', [0.02, 0.3, 0.6, 0.97])
def test_a_download_that_broke_off_anywhere_is_refused(name, share, tmp_path):
    PUBLISHED[name](tmp_path / 'whole')
    whole = (tmp_path / 'whole').read_bytes()
    file = tmp_path / 'part'
    file.write_bytes(whole[: int(share * len(whole))])
    refusal(file)
