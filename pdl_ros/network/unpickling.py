"""Pickles of weights, read without running anything in them.

What is plainly data is built here, from the bytes: containers, numbers, NumPy's arrays and scalars,
PyTorch's tensors. Every other class or function that a file names, be it `argparse.Namespace` or
`os.system`, becomes a `Placeholder`: nothing is imported or called for it. Python's own unpickler
interprets the file, not the C one, whose memo takes as much memory as a file says.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from pdl_ros.errors import printable

PersistentLoad = Callable[[Any], Any]
_PythonUnpickler: Any = pickle._Unpickler


class UnpicklingError(Exception):
    """Say in some words why a file is no honest pickle of weights."""


class Placeholder(dict):
    """What stands for an instance of a class that is not built; `name` is that of the class.

    It keeps what is put into it as into a dictionary, for there are many with names of their own,
    and swallows all else.
    """

    __slots__ = ()
    name = ''

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __call__(self, *_: Any) -> Placeholder:
        """Stand for what would be returned, too."""
        return self

    def __setstate__(self, state: Any) -> None:
        """Drop it."""

    def _swallow(self, *_: Any) -> None:
        """Drop what a list or a set would take."""

    append = extend = add = update = _swallow  # type: ignore[assignment]
    __hash__ = object.__hash__  # type: ignore[assignment]


class Unpickler(_PythonUnpickler):
    """Build data, and placeholders for the rest; their names are in `skipped` afterwards.

    size: bytes in the file, which bound what is built. persistent_load: gives a `Storage` for what
    PyTorch notes outside of the pickle.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        persistent_load: PersistentLoad | None = None,
        encoding: str = 'ASCII',
    ) -> None:
        super().__init__(file, encoding=encoding)
        self.skipped: dict[str, type[Placeholder]] = {}
        self._left = 4 * size + 2**20
        if persistent_load is not None:
            self.persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        """Return what builds the data that is known by this name, or a kind of placeholder."""
        function = _KNOWN.get((module.replace('numpy._core', 'numpy.core'), name))
        if function is not None:
            return _Known(self, function)
        if module in ('torch', 'torch.storage') and name in _STORAGES:
            return _StorageType(_STORAGES[name])
        full = f'{module}.{name}'
        if full not in self.skipped:
            self.spend(2000)
            self.skipped[full] = type(
                'Placeholder', (Placeholder,), {'name': full, '__slots__': ()}
            )
        return self.skipped[full]

    def get_extension(self, code: int) -> None:
        """Refuse what this process may have registered for its own pickles."""
        raise UnpicklingError(f'it asks for the extension {code}')

    dispatch = dict(_PythonUnpickler.dispatch)

    def _check_keys(self, keys: list[Any]) -> None:
        # To hash a tuple in a tuple in a tuple, a million deep, ends the process.
        if any(isinstance(key, tuple) and any(isinstance(k, tuple) for k in key) for key in keys):
            raise UnpicklingError('names in it are nested tuples')

    def load_setitem(self) -> None:
        """Fill a dictionary by one entry."""
        self._check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Fill a dictionary."""
        self._check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self) -> None:
        """Make a dictionary."""
        self._check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self) -> None:
        """Fill a set."""
        self._check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self) -> None:
        """Make a set."""
        self._check_keys(self.stack)
        super().load_frozenset()

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset

    def spend(self, size: int) -> None:
        """Note that so many bytes are built; repeated often enough, a few would fill any memory."""
        self._left -= size
        if self._left < 0:
            raise UnpicklingError('it would grow far beyond its size')


class _Sealed:
    """An object that a pickle can name, but not change."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise UnpicklingError('it tries to change what reads it')


class Storage(_Sealed):
    """The numbers that tensors are views of: (n,), of one dtype."""

    __slots__ = ('values',)

    def __init__(self, values: Tensor) -> None:
        self.values = values


class _View(_Sealed):
    """A tensor. `torch.Tensor` has a `__setstate__` of its own, which takes any size."""

    __slots__ = ('tensor',)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _StorageType(_Sealed):
    """A class such as `torch.FloatStorage`, of which only the dtype counts."""

    __slots__ = ('dtype',)

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype


class _Known(_Sealed):
    """A function that a pickle may call."""

    __slots__ = ('_function', '_reader')

    def __init__(self, reader: Unpickler, function: Callable[..., Any]) -> None:
        self._reader, self._function = reader, function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(self._reader, *arguments)


class _DType:
    """NumPy's dtype: letter and size as in 'f4', then the order of bytes."""

    __slots__ = ('code', 'order')

    def __init__(self, code: Any) -> None:
        self.code, self.order = code, '='

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype | None:
        """Return it where it is one of numbers."""
        known = isinstance(self.code, str) and self.code in _NUMPY_CODES
        order = '>' if self.order == '>' else '<' if self.order == '<' else '='
        return np.dtype(f'{order}{self.code}') if known else None


class _Array:
    """NumPy's array; `values` is None where it is not of numbers."""

    __slots__ = ('_reader', 'values')

    def __init__(self, reader: Unpickler) -> None:
        self._reader = reader
        self.values: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, columns_first, content = state
        order = 'F' if columns_first else 'C'
        self.values = _numbers(self._reader, content, dtype, shape, order)


def as_tensor(value: Any) -> Tensor | None:
    """Return what was unpickled as a tensor, where it is one or an array of numbers."""
    if isinstance(value, _Array):
        return None if value.values is None else torch.from_numpy(value.values)
    return value.tensor if isinstance(value, _View) else None


def kind_of(value: Any) -> str:
    """Name the class of what was unpickled."""
    if isinstance(value, Placeholder) or (isinstance(value, type) and hasattr(value, 'name')):
        return printable(value.name)[:100]
    names = {_Array: 'ndarray', _View: 'Tensor', Storage: 'Storage'}
    return names.get(type(value), type(value).__name__)


def storage_dtype(kind: Any) -> torch.dtype:
    """Return the dtype of a storage class that a file named."""
    if not isinstance(kind, _StorageType):
        raise UnpicklingError('a storage in it is of no known kind')
    return kind.dtype


def _numbers(
    reader: Unpickler, content: Any, dtype: Any, shape: Any, order: str
) -> np.ndarray | None:
    kind = dtype.numpy() if isinstance(dtype, _DType) else None
    if kind is None or not isinstance(content, (str, bytes, bytearray)):
        return None
    reader.spend(len(content))
    raw = content.encode('latin1') if isinstance(content, str) else content
    values = np.frombuffer(raw, kind).reshape(tuple(shape), order=order)  # type: ignore[call-overload]
    return np.array(values, kind.newbyteorder('='), order='C')


def _from_buffer(reader: Unpickler, content: Any, dtype: Any, shape: Any, order: str) -> _Array:
    array = _Array(reader)
    array.values = _numbers(reader, content, dtype, shape, order)
    return array


def _scalar(reader: Unpickler, dtype: Any, content: Any = None) -> Any:
    values = _numbers(reader, content, dtype, (1,), 'C')
    return None if values is None else values.item()


def _latin1(reader: Unpickler, text: str, encoding: str = '') -> bytes:
    # NumPy's way to write bytes in old pickles; other codecs could, for instance, inflate.
    if encoding not in ('latin1', 'latin-1'):
        raise UnpicklingError('it asks for a text encoding that weights do not need')
    reader.spend(len(text))
    return text.encode('latin1')


def _ordered(reader: Unpickler, pairs: Any = ()) -> OrderedDict:
    reader.spend(100 * len(pairs))
    return OrderedDict((key, value) for key, value in pairs if isinstance(key, str))


def _tensor(reader: Unpickler, storage: Any, offset: int, size: Any, stride: Any, *_: Any) -> _View:
    if not isinstance(storage, Storage):
        raise UnpicklingError('a tensor in it has no storage')
    if math.prod(size) > storage.values.numel():  # strides of 0 make terabytes of one number
        raise UnpicklingError('a tensor in it is larger than its storage')
    return _View(storage.values.as_strided(tuple(size), tuple(stride), offset))


def _nested_storage(reader: Unpickler, content: bytes) -> Any:
    # A tensor that was pickled without torch.save carries its storage as such a file.
    from pdl_ros.network.torch_files import read_torch

    reader.spend(len(content))
    return read_torch(io.BytesIO(content), len(content))[0]


_NUMPY_CODES = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'b1')
_STORAGES: dict[str, torch.dtype] = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
    'UntypedStorage': torch.uint8,
}
# The first argument is the unpickler. What is returned is no copy, or paid for with `spend`.
_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ('collections', 'OrderedDict'): _ordered,
    ('collections', 'defaultdict'): lambda reader, *_: OrderedDict(),
    ('numpy', 'ndarray'): lambda reader, *_: None,  # only named, for `_reconstruct`
    ('numpy', 'dtype'): lambda reader, code, *_: _DType(code),
    ('numpy.core.multiarray', '_reconstruct'): lambda reader, *_: _Array(reader),
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy.core.numeric', '_frombuffer'): _from_buffer,
    ('_codecs', 'encode'): _latin1,
    ('torch._utils', '_rebuild_tensor'): _tensor,
    ('torch._utils', '_rebuild_tensor_v2'): _tensor,
    ('torch._utils', '_rebuild_parameter'): lambda reader, data, *_: data,
    ('torch._utils', '_rebuild_parameter_with_state'): lambda reader, data, *_: data,
    ('torch.storage', '_load_from_bytes'): _nested_storage,
    ('torch', 'Size'): lambda reader, values=(): values,
}
