"""Open files of weights, whoever wrote them. They are untrusted: nothing in them is executed.

Three containers are read: safetensors, PyTorch's, and plain pickles of NumPy arrays as the
detectron2 zoo has them. What a training keeps beside the weights is skipped (unpickling.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pdl_ros.errors import PdlError, printable
from pdl_ros.network.names import TABLES, release_of, table_rank, unwrapped
from pdl_ros.network.torch_files import read_torch
from pdl_ros.network.unpickling import (
    Placeholder,
    Unpickler,
    UnpicklingError,
    as_tensor,
    kind_of,
)
from pdl_ros.network.weight_files import container_of

_DEEPEST = 6


class Contents(NamedTuple):
    """A file of weights, opened.

    container: 'safetensors', 'PyTorch' or 'pickle'. tensors: by the names in the file, less those
    of wrappers around the network. metadata: the text fields of a safetensors file. inside: the
    names that lead to the table of tensors, such as ('model', 'state_dict'). skipped: what else
    there is, by its class.
    """

    container: str
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    inside: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def open_weights(path: Path) -> Contents:
    """Read the tensors of a file; its first bytes tell the container, its name tells nothing."""
    container = container_of(path)
    if container == 'safetensors':
        return _open_safetensors(path)
    return _open_pickle(path, container)


def _open_safetensors(path: Path) -> Contents:
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return Contents('safetensors', _unwrapped(tensors), file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise PdlError(
            f'{path} is not a readable safetensors file ({error}); it may be truncated.'
        ) from None


def _open_pickle(path: Path, container: str) -> Contents:
    try:
        size = path.stat().st_size
        with path.open('rb') as file:
            if container == 'PyTorch':
                content, skipped = read_torch(file, size)
            else:
                # latin1: how Python 3 reads the byte strings of Python 2's arrays.
                reader = Unpickler(file, size, encoding='latin1')
                content, skipped = reader.load(), list(reader.skipped)
    except UnpicklingError as error:
        raise PdlError(f'{path} is refused: {error}.') from None
    except Exception as error:
        article = 'PyTorch file' if container == 'PyTorch' else 'pickle'
        raise PdlError(
            f'{path} is not a readable {article} ({type(error).__name__}); it may be truncated.'
        ) from None
    inside, table = _find_table(content, path)
    tensors = {}
    for key, value in table.items():
        tensor = as_tensor(value)
        if tensor is not None and isinstance(key, str):
            tensors[key] = tensor
    ours = _unwrapped(tensors)
    if len(ours) < len(tensors):
        skipped.append(f'{len(tensors) - len(ours)} tensors beside the network')
    return Contents(
        container, ours, {}, tuple(map(_short, inside)), tuple(dict.fromkeys(map(_short, skipped)))
    )


def _short(name: str) -> str:
    return printable(name[:100])


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[key] for key, name in unwrapped(tensors).items()}


def _find_table(content: Any, path: Path) -> tuple[tuple[str, ...], dict[Any, Any]]:
    """Return the table of named tensors in what a training kept, and the names that lead to it.

    That of a Panoptic-DeepLab comes first, then the largest.
    """
    tables = [(way, table) for way, table in _tables(content) if _tensors_in(table)]
    networks = [found for found in tables if release_of(unwrapped(_names(found[1])).values())]
    if not tables:
        raise PdlError(f'{path} {_why_no_table(content)}')
    return networks[0] if networks else max(tables, key=lambda found: _tensors_in(found[1]))


def _tables(content: Any) -> Iterator[tuple[tuple[str, ...], dict[Any, Any]]]:
    """Yield dictionaries in dictionaries, the outer before the inner, each once."""
    level: list[tuple[tuple[str, ...], Any]] = [((), content)]
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        inner: list[tuple[tuple[str, ...], Any]] = []
        for way, table in level:
            if isinstance(table, dict) and id(table) not in seen:
                seen.add(id(table))
                yield way, table
                inner += [
                    ((*way, key), table[key]) for key in sorted(_names(table), key=table_rank)
                ]
        level = inner


def _names(table: dict[Any, Any]) -> list[str]:
    return [key for key in table if isinstance(key, str)]


def _tensors_in(table: dict[Any, Any]) -> int:
    return sum(as_tensor(table[key]) is not None for key in _names(table))


def _why_no_table(content: Any) -> str:
    """Return the end of a sentence about a pickle without named tensors."""
    innermost = content
    for way, table in _tables(content):
        if not way or way[-1].lower() in TABLES:
            innermost = table
    first = next(iter(innermost.items()), None) if isinstance(innermost, dict) else None
    if first is None:
        return _run_code(innermost) or (
            'holds no state dict: there is no table of named tensors in it.'
        )
    key, value = first
    if not isinstance(key, str):
        name = key if isinstance(key, int) else kind_of(key)
        return _run_code(key) or f'is not a state dict: it names a tensor {name}.'
    return _run_code(value) or (
        f'is not a state dict: its entry {_short(key)!r} is {kind_of(value)} instead of a tensor.'
    )


def _run_code(value: Any) -> str:
    if not isinstance(value, (Placeholder, type)):
        return ''
    return (
        f'is refused: it asks for {kind_of(value)}, which weights do not need and which could run '
        'code; of a whole network that was pickled, save the state_dict().'
    )
