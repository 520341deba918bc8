"""Files of weights are opened whoever wrote them, and nothing in them is ever executed."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import io
import pickle
import resource
import struct
import types
import zipfile
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


# --- what trainers wrap around the weights --------------------------------------------------------


class Attributes(dict):
    """A dictionary with a class of the trainer's own, as configuration libraries have."""


def nested(*names: str) -> dict:
    content: dict = dict(tensors())
    for name in reversed(names):
        content = {name: content, 'epoch': 3}
    return content


@pytest.mark.parametrize(
    'names',
    [
        ('model', 'model'),
        ('state_dict',),
        ('model_state_dict',),
        ('checkpoint', 'model', 'state_dict'),
        ('net',),
        ('network',),
        ('ema', 'module'),
        ('teacher',),
        ('my_segmenter', 'weights'),
    ],
    ids='.'.join,
)
def test_weights_are_found_wherever_a_trainer_nests_them(names, tmp_path):
    torch.save({**nested(*names), 'rng': torch.zeros(4)}, tmp_path / 'a.pth')
    contents = open_weights(tmp_path / 'a.pth')
    assert list(contents.tensors) == ['a.weight', 'a.bias']
    assert contents.inside == names


def test_the_model_is_taken_before_its_teacher_and_the_network_before_an_optimiser(tmp_path):
    other = {'a.weight': WEIGHT + 1, 'a.bias': BIAS}
    momentum = {f'{n}.{i}': WEIGHT for n in ('a', 'b') for i in range(9)}
    network = {f'sem_seg_head.{k}': v for k, v in tensors().items()}
    torch.save({'teacher': other, 'model': tensors()}, tmp_path / 'a.pth')
    assert torch.equal(open_weights(tmp_path / 'a.pth').tensors['a.weight'], WEIGHT)
    torch.save({'optimizer': momentum, 'mine': network}, tmp_path / 'a.pth')
    assert open_weights(tmp_path / 'a.pth').inside == ('mine',)


BESIDE = {
    'a NumPy scalar': np.float64(0.5),
    'an argparse.Namespace': argparse.Namespace(lr=0.1, crop=(513, 1025)),
    'a date': datetime.datetime(2020, 1, 1),
    'a path': Path('/data'),
    'an array of words': np.array(['a', 'b']),
    'a dictionary of a class of its own': Attributes(lr=0.1),
    'collections': [collections.defaultdict(list, {'a': [1]}), collections.Counter('aab')],
    'a deque and a set': [collections.deque([1]), {1, 2}, frozenset({3})],
    "PyTorch's small things": [torch.Size([1]), torch.float16, torch.device('cpu')],
    'a simple namespace': types.SimpleNamespace(a=1),
    'a random generator': np.random.default_rng(0),
    'complex numbers and slices': [1j, slice(1), range(3)],
    'a sparse tensor': torch.eye(2).to_sparse(),
    'a whole network': torch.nn.Linear(2, 2),
    'code': eval,
}


@pytest.mark.parametrize(
    'write',
    [
        torch.save,
        lambda content, file: torch.save(content, file, _use_new_zipfile_serialization=False),
        pickled,
        lambda content, file: pickled(content, file, 5),
    ],
    ids=['PyTorch', 'PyTorch of 2020', 'pickle', 'newer pickle'],
)
@pytest.mark.parametrize('name', BESIDE)
@pytest.mark.filterwarnings('ignore')
def test_what_lies_beside_the_weights_is_no_obstacle(name, write, tmp_path):
    whole = tensors() if write is not pickled else {k: v.numpy() for k, v in tensors().items()}
    write({'args': BESIDE[name], 'model': whole, 'a': [BESIDE[name]]}, tmp_path / 'a.pth')
    contents = open_weights(tmp_path / 'a.pth')
    assert torch.equal(contents.tensors['a.weight'], WEIGHT)
    write({**whole, 'args': BESIDE[name]}, tmp_path / 'a.pth')
    contents = open_weights(tmp_path / 'a.pth')
    assert list(contents.tensors) == ['a.weight', 'a.bias']


def test_what_was_skipped_is_told_by_its_class(tmp_path):
    torch.save({'args': argparse.Namespace(lr=1), 'model': tensors()}, tmp_path / 'a.pth')
    assert open_weights(tmp_path / 'a.pth').skipped == ('argparse.Namespace',)


@pytest.mark.parametrize(
    'prefix',
    ['module.', '_orig_mod.', 'model.', 'net.', 'module._orig_mod.', '_forward_module.module.'],
)
def test_the_names_of_wrappers_are_taken_off(prefix, tmp_path):
    torch.save({f'{prefix}{k}': v for k, v in tensors().items()}, tmp_path / 'encoder.pth')
    assert list(open_weights(tmp_path / 'encoder.pth').tensors) == ['a.weight', 'a.bias']


@pytest.mark.parametrize('mark', ['sem_seg_head.', 'decoder.semantic_decoder.'])
@pytest.mark.parametrize('prefix', ['module.', 'lit.model._orig_mod.', 'student.', 'my.own.'])
def test_a_network_is_seen_behind_any_wrapper_and_beside_other_parts(mark, prefix, tmp_path):
    network = {f'{prefix}{mark}_checkpoint_wrapped_module.{k}': v for k, v in tensors().items()}
    network[f'{prefix}backbone.w'] = WEIGHT
    torch.save({**network, 'criterion.weight': BIAS}, tmp_path / 'a.pth')
    contents = open_weights(tmp_path / 'a.pth')
    assert list(contents.tensors) == [f'{mark}a.weight', f'{mark}a.bias', 'backbone.w']
    assert contents.skipped == ('1 tensors beside the network',)


def test_views_of_one_storage_halves_and_scalars_come_out_as_they_went_in(tmp_path):
    whole = torch.arange(12.0)
    content = {
        'a': whole[2:8].view(2, 3).t(),
        'b': whole[6:],
        'c': whole.half(),
        'd': whole.bfloat16(),
        'e': torch.tensor(7),
        'f': torch.zeros(0, 3),
        'g': torch.tensor([True, False]),
    }
    for new in (True, False):
        torch.save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=new)
        found = open_weights(tmp_path / 'a.pth').tensors
        for key, value in content.items():
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value), key


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


@pytest.fixture
def weights_beside():
    """A pickle, protocol 2, of weights beside whatever some opcodes leave on the stack."""
    model = pickle.dumps(arrays(), protocol=2)[2:-1]

    def make(opcodes: bytes) -> bytes:
        # Its own memo numbers, beyond those of the arrays.
        return b'\x80\x02}(X\x05\x00\x00\x00model' + model + b'X\x01\x00\x00\x00x' + opcodes + b'u.'

    return make


TOUCH = b'cpathlib\nPath\nX\x05\x00\x00\x00trace\x85R'
SHOTS = {
    'a call': b'cos\nsystem\nX\x0b\x00\x00\x00touch trace\x85R',
    'a call of what a call returned': b'cbuiltins\ngetattr\n'
    + TOUCH
    + b'X\x05\x00\x00\x00touch\x86R)R',
    'an instance by INST': b'(X\x0b\x00\x00\x00touch traceios\nsystem\n',
    'an instance by OBJ': b'(cos\nsystem\nX\x0b\x00\x00\x00touch traceo',
    'a new object with a state': b'cos\nPathLike\n)\x81}X\x01\x00\x00\x00aK\x01sb',
    'a state for its slots': b'cos\nPathLike\n)\x81N}X\x04\x00\x00\x00nameK\x01s\x86b',
    'a list in it': b'cos\nPathLike\n)\x81(K\x01K\x02e',
    'a dotted name': b'cos\npath.os.system\nX\x0b\x00\x00\x00touch trace\x85R',
}


@pytest.mark.parametrize('name', SHOTS)
def test_code_beside_the_weights_is_skipped_and_not_run(
    name, weights_beside, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.pkl').write_bytes(weights_beside(SHOTS[name]))
    contents = open_weights(tmp_path / 'a.pkl')
    assert torch.equal(contents.tensors['a.weight'], WEIGHT)
    assert contents.skipped
    assert [p.name for p in tmp_path.iterdir()] == ['a.pkl']


MEMO = b'q\xfa'  # what is put under number 250
BOMBS = {
    'a memo of a terabyte': b'Nr\xff\xff\xff\x7f',
    'bytes of an exabyte': b'\x8e' + struct.pack('<Q', 2**60),
    'a bytearray of an exabyte': b'\x96' + struct.pack('<Q', 2**60),
    'a frame of an exabyte': b'\x95' + struct.pack('<Q', 2**60),
    'tuples in tuples': b')' + b'\x85' * 300_000,
    'tuples in tuples as a name': b'})' + b'\x85' * 300_000 + b'K\x01s',
    'tuples in tuples in a set': b'\x8f()' + b'\x85' * 300_000 + b'\x90',
    'lists in lists': b']' * 300_000 + b'a' * 299_999,
    'a text that is encoded again and again': b'(X\x00\x00\x10\x00'
    + b'a' * 2**20
    + MEMO
    + b'c_codecs\nencode\nq\xfb'
    + b'h\xfbh\xfaX\x06\x00\x00\x00latin1\x86R' * 10_000
    + b'l',
    'a laughing device': b']'
    + MEMO
    + b'(h\xfah\xfah\xfah\xfae'
    + MEMO * 40
    + b'0ctorch\ndevice\nh\xfa\x85R',
    'an extension': b'\x82\x01',
    'a persistent object': b'K\x01Q',
    'a changed reader': b'c_codecs\nencode\n}X\x04\x00\x00\x00nameK\x01sb',
    'a changed class': b'ccollections\nOrderedDict\n}X\x04\x00\x00\x00nameK\x01sb',
    'names without end': b'(' + b''.join(b'ca\nb%d\n' % i for i in range(20_000)) + b'l',
    'a number of a million digits': b'I' + b'9' * 1_000_000 + b'\n',
}


@pytest.mark.parametrize('name', BOMBS)
def test_a_bomb_costs_neither_memory_nor_the_process(name, weights_beside, tmp_path):
    file = tmp_path / 'a.pkl'
    file.write_bytes(weights_beside(BOMBS[name]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(PdlError):  # refused, or read without it
        assert torch.equal(open_weights(file).tensors['a.weight'], WEIGHT)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def rebuilt(size: tuple, stride: tuple, file: Path, new: bool) -> None:
    """Write a tensor that says it has another size than its storage."""

    class Liar:
        def __init__(self, tensor: torch.Tensor) -> None:
            self.tensor = tensor

        def __reduce__(self):
            storage = torch.storage.TypedStorage(
                wrap_storage=self.tensor.untyped_storage(), dtype=torch.float32, _internal=True
            )
            return torch._utils._rebuild_tensor_v2, (storage, 0, size, stride, False, {})

    torch.save({'a': Liar(WEIGHT)}, file, _use_new_zipfile_serialization=new)


@pytest.mark.parametrize('new', [True, False])
@pytest.mark.parametrize(
    ('size', 'stride'), [((10**6, 10**6), (0, 0)), ((10**6, 10**6), (10**6, 1)), ((2,), (10**9,))]
)
def test_a_tensor_larger_than_its_storage_is_refused(size, stride, new, tmp_path):
    rebuilt(size, stride, tmp_path / 'a.pth', new)
    refusal(tmp_path / 'a.pth')


def test_an_archive_that_would_inflate_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(tensors(), buffer)
    with zipfile.ZipFile(buffer) as whole, zipfile.ZipFile(tmp_path / 'a.pth', 'w', 8) as packed:
        for info in whole.infolist():
            content = whole.read(info)
            packed.writestr(info.filename, content + bytes(10**8 * info.filename.endswith('0')))
    assert 'beyond its size' in refusal(tmp_path / 'a.pth')


def test_a_tensor_s_own_way_to_take_a_state_is_closed(tmp_path):
    torch.save({'a': WEIGHT}, tmp_path / 'a.pth')
    with zipfile.ZipFile(tmp_path / 'a.pth') as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in parts if name.endswith('data.pkl'))
    parts[name] = parts[name][:-2] + b'}bs.'  # BUILD on the tensor
    with zipfile.ZipFile(tmp_path / 'a.pth', 'w') as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    assert 'tries to change' in refusal(tmp_path / 'a.pth')


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
