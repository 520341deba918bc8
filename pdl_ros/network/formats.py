"""Open files of weights, whoever wrote them. They are untrusted: nothing in them is executed.

Three containers are read: safetensors, PyTorch's (`torch.load` restricted to tensors), and plain
pickles of NumPy arrays as the detectron2 zoo has them (an unpickler that knows ten harmless names).
"""

from __future__ import annotations

import io
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pdl_ros.errors import PdlError

# Before version 1.6 torch.save wrote a row of pickles, and this number as the first.
_LEGACY_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[2:]


class Contents(NamedTuple):
    """A file of weights, opened.

    container: 'safetensors', 'PyTorch' or 'pickle'. tensors: by the names in the file. metadata:
    the text fields of a safetensors file.
    """

    container: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def open_weights(path: Path) -> Contents:
    """Read the tensors of a file; its first bytes tell the container, its name tells nothing."""
    try:
        with path.open('rb') as file:
            start = file.read(512)
    except OSError as error:
        raise PdlError(f'{path} cannot be read: {error.strerror or error}.') from None
    _refuse_strangers(path, start)
    if start[8:9] == b'{':
        return _open_safetensors(path)
    if start.startswith(b'PK\x03\x04') or _LEGACY_TORCH in start[:20]:
        container, content = 'PyTorch', _load_torch(path)
    elif start[:1] == b'\x80':
        container, content = 'pickle', _load_pickle(path)
    else:
        raise PdlError(
            f'{path} is not a file of weights: it is neither safetensors nor PyTorch nor a pickle '
            'of arrays; it may be damaged.'
        )
    return Contents(container, _tensors_of(content, path), {})


def _refuse_strangers(path: Path, start: bytes) -> None:
    text = start.lstrip().lower()
    if not start:
        raise PdlError(f'{path} is empty; download it again.')
    if start.startswith(b'version https://git-lfs'):
        raise PdlError(
            f'{path} is a Git LFS pointer, not the weights themselves; fetch them with: git lfs '
            'pull.'
        )
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        raise PdlError(
            f'{path} is a web page, not a file of weights; the download led to an error or a '
            'confirmation page, so download it again in a browser.'
        )


def _open_safetensors(path: Path) -> Contents:
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return Contents('safetensors', tensors, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise PdlError(
            f'{path} is not a readable safetensors file ({error}); it may be truncated.'
        ) from None


def _load_torch(source: Path | io.BytesIO, name: Path | None = None) -> Any:
    try:
        return torch.load(source, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r'GLOBAL ([\w.]+)', str(error))
        why = (
            f'it asks for {refused[1]}, which weights do not need and which could run code'
            if refused
            else 'it is damaged, or holds more than tensors'
        )
        raise PdlError(f'{name or source} is refused: {why}.') from None
    except Exception as error:
        raise PdlError(
            f'{name or source} is not a readable PyTorch file ({type(error).__name__}); it may be '
            'truncated.'
        ) from None


def _load_pickle(path: Path) -> Any:
    try:
        with path.open('rb') as file:
            # latin1: how Python 3 reads the byte strings of Python 2's arrays.
            return _ArraysOnly(file, path).load()
    except PdlError:
        raise
    except Exception as error:
        raise PdlError(
            f'{path} is not a readable pickle ({type(error).__name__}); it may be truncated.'
        ) from None


class _ArraysOnly(pickle.Unpickler):
    """Build arrays, tensors and plain containers; refuse every other class by its name."""

    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        super().__init__(file, encoding='latin1')
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module.replace('numpy._core', 'numpy.core'), name]
        except KeyError:
            raise PdlError(
                f'{self.path} is refused: it asks for {module}.{name}, which weights do not need '
                'and which could run code.'
            ) from None


def _storage(content: bytes) -> Any:
    # A tensor that was pickled without torch.save carries its storage as such a file.
    return torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)


def _latin1(text: str, encoding: str) -> bytes:
    # NumPy's way to write bytes in old pickles; other codecs could, for instance, inflate.
    if encoding not in ('latin1', 'latin-1'):
        raise pickle.UnpicklingError(encoding)
    return text.encode('latin1')


def _scalar(dtype: np.dtype, content: str | bytes) -> Any:
    if dtype.kind not in 'fiub':
        raise pickle.UnpicklingError(str(dtype))
    raw = content.encode('latin1') if isinstance(content, str) else content
    return np.frombuffer(raw, dtype)[0]


def _frombuffer(content: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> Any:
    if dtype.kind not in 'fiub':
        raise pickle.UnpicklingError(str(dtype))
    return np.frombuffer(content, dtype).reshape(shape, order=order)  # type: ignore[call-overload]


_ALLOWED: dict[tuple[str, str], Any] = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
    ('numpy.core.multiarray', '_reconstruct'): np.empty(0).__reduce__()[0],
    ('numpy.core.multiarray', 'scalar'): _scalar,
    ('numpy.core.numeric', '_frombuffer'): _frombuffer,
    ('_codecs', 'encode'): _latin1,
    ('torch._utils', '_rebuild_tensor_v2'): torch._utils._rebuild_tensor_v2,
    ('torch._utils', '_rebuild_parameter'): torch._utils._rebuild_parameter,
    ('torch.storage', '_load_from_bytes'): _storage,
}


def _tensors_of(content: Any, path: Path) -> dict[str, Tensor]:
    """Unwrap a training checkpoint and return its network's tensors by name."""
    if isinstance(content, dict):
        for inner in ('model', 'state_dict'):
            if isinstance(content.get(inner), dict):
                content = content[inner]
                break
    if not isinstance(content, dict) or not content:
        raise PdlError(f'{path} holds no state dict: there is no table of named tensors in it.')
    tensors = {}
    for key, value in content.items():
        if isinstance(value, np.ndarray) and value.dtype.kind in 'fiub':
            value = torch.from_numpy(
                np.ascontiguousarray(value.astype(value.dtype.newbyteorder('=')))
            )
        if not isinstance(key, str):
            raise PdlError(f'{path} is not a state dict: it names a tensor {str(key)[:60]}.')
        if not isinstance(value, Tensor):
            raise PdlError(
                f'{path} is not a state dict: its entry {key[:60]!r} is {type(value).__name__} '
                'instead of a tensor.'
            )
        tensors[key] = value
    return tensors
