"""The two containers of `torch.save`, by our own hand: `torch.load` refuses a whole file for one
class in it that it does not know, or runs all of it.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any, BinaryIO

import torch

from pdl_ros.network.unpickling import Storage, Unpickler, UnpicklingError, storage_dtype


def read_torch(file: BinaryIO, size: int) -> tuple[Any, list[str]]:
    """Return what `torch.save` wrote, and the names of classes that were skipped in it.

    `size` is the file's, in bytes. What is damaged or dishonest is an exception of any kind.
    """
    start = file.read(4)
    file.seek(0)
    return (_read_zip if start == b'PK\x03\x04' else _read_legacy)(file, size)


def _read_zip(file: BinaryIO, size: int) -> tuple[Any, list[str]]:
    with zipfile.ZipFile(file) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        if sum(info.file_size for info in infos.values()) > size:
            raise UnpicklingError('it would grow far beyond its size')
        inside = next((name for name in infos if name.endswith('data.pkl')), None)
        if inside is None:
            raise UnpicklingError('there is no data.pkl in it')
        folder = inside.removesuffix('data.pkl')
        order = archive.read(f'{folder}byteorder') if f'{folder}byteorder' in infos else b'little'
        storages: dict[str, Storage] = {}

        def persistent_load(saved: Any) -> Storage:
            _, kind, key, _, _ = saved
            if key not in storages:
                raw = bytearray(archive.read(f'{folder}data/{key}'))
                dtype = storage_dtype(kind)
                storages[key] = Storage(_from_bytes(raw, dtype, order == b'big'))
            return storages[key]

        content = archive.read(inside)
        reader = Unpickler(io.BytesIO(content), len(content), persistent_load, 'utf-8')
        return reader.load(), list(reader.skipped)


def _read_legacy(file: BinaryIO, size: int) -> tuple[Any, list[str]]:
    for _ in range(3):  # the magic number, a version, and sizes of the machine that wrote it
        Unpickler(file, size).load()
    storages: dict[Any, Storage] = {}
    views: dict[Any, Storage] = {}
    left = size

    def persistent_load(saved: Any) -> Any:
        nonlocal left
        if saved[0] == 'module':  # a class and its source
            return saved[1]
        _, kind, key, _, count, view = saved
        if key not in storages:
            dtype = storage_dtype(kind)
            left -= count * dtype.itemsize
            if count < 0 or left < 0:  # its numbers come later in the file
                raise UnpicklingError('it would grow far beyond its size')
            storages[key] = Storage(torch.zeros(count, dtype=dtype))
        if view is None:
            return storages[key]
        name, start, length = view
        if name not in views:
            views[name] = Storage(storages[key].values[start : start + length])
        return views[name]

    reader = Unpickler(file, size, persistent_load, 'utf-8')
    content = reader.load()
    for key in Unpickler(file, size).load():
        values = storages[key].values
        (count,) = struct.unpack('<q', file.read(8))
        raw = file.read(values.numel() * values.element_size())
        if count != values.numel() or len(raw) != values.numel() * values.element_size():
            raise UnpicklingError('it ends too early')
        if raw:
            values.copy_(torch.frombuffer(bytearray(raw), dtype=values.dtype))
    return content, list(reader.skipped)


def _from_bytes(raw: bytearray, dtype: torch.dtype, big_endian: bool) -> torch.Tensor:
    if not raw:
        return torch.zeros(0, dtype=dtype)
    if big_endian:
        pieces = torch.frombuffer(raw, dtype=torch.uint8).view(-1, dtype.itemsize)
        return pieces.flip(1).flatten().view(dtype)
    return torch.frombuffer(raw, dtype=dtype)
