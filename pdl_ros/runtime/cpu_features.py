"""Which processor this is, and what instructions it has, as far as the engines may use them."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

_CPUINFO = Path('/proc/cpuinfo')
_BOARD = Path('/proc/device-tree/model')
# What a set adds to those before it, by LLVM's names. Not every processor has all that are before.
X86 = {
    'sse4': {'sse4.1'},
    'avx': {'avx'},
    'avx2': {'avx2', 'fma'},
    'avx2_vnni': {'avx2', 'avxvnni'},
    'avx512': {'avx512f', 'avx512bw', 'avx512dq', 'avx512vl'},
    'avx512_vnni': {'avx512f', 'avx512vnni'},
    'avx512_bf16': {'avx512f', 'avx512bf16'},
    'amx': {'amx-tile', 'amx-int8', 'amx-bf16'},
}
_BF16 = ('avx512_bf16', 'amx')
# The values that these environment variables can have; others leave everything.
_ONEDNN = {
    **{'SSE41': 'sse4', 'AVX': 'avx', 'AVX2': 'avx2'},
    **{'AVX2_VNNI': 'avx2_vnni', 'AVX2_VNNI_2': 'avx2_vnni', 'AVX512_CORE': 'avx512'},
    **{'AVX512_CORE_VNNI': 'avx512_vnni', 'AVX512_CORE_BF16': 'avx512_bf16'},
    **{'AVX512_CORE_FP16': 'avx512_bf16', 'AVX10_1_512': 'avx512_bf16'},
}
_ATEN = {'DEFAULT': 'sse4', 'AVX2': 'avx2'}
_LIMITS = {
    'torch': (('ONEDNN_MAX_CPU_ISA', _ONEDNN), ('ATEN_CPU_CAPABILITY', _ATEN)),
    'openvino': (('ONEDNN_MAX_CPU_ISA', _ONEDNN),),
    'onednn': (('ONEDNN_MAX_CPU_ISA', _ONEDNN),),
}


def processor() -> str:
    """Return the name of the processor; on ARM, where Linux has none, that of the board."""
    with suppress(OSError):
        for line in _CPUINFO.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    with suppress(OSError):
        return _BOARD.read_text().strip('\0\n')
    return platform.processor() or platform.machine()


def instruction_set(runtime: str = 'torch') -> str:
    """Return the widest instruction set that a runtime computes with here: avx2, avx512_vnni, amx
    and others on x86, neon on ARM, elsewhere the machine's name.

    bf16 gives other numbers on other sets, and so does int8 whose sums may overflow. torch
    and openvino, which rest on onednn, can be kept from instructions by ONEDNN_MAX_CPU_ISA, torch's
    own loops by ATEN_CPU_CAPABILITY, as when a smaller processor is tried out; onnxruntime cannot.
    """
    machine = platform.machine().lower() or 'unknown'
    if machine in ('aarch64', 'arm64'):
        return 'neon'
    has = _features()
    names = list(X86)
    most = len(names)
    for variable, values in _LIMITS.get(runtime, ()):
        limit = values.get(os.environ.get(variable, '').upper())
        most = most if limit is None else min(most, 1 + names.index(limit))
    return next((name for name in reversed(names[:most]) if has >= X86[name]), machine)


def has_bf16() -> bool:
    """Tell whether oneDNN computes in bf16: AVX-512 BF16 or AMX. Others convert back and forth.

    OpenVINO gives no heads at all in bf16 where ONEDNN_MAX_CPU_ISA keeps it from these.
    """
    return instruction_set('openvino') in _BF16


@lru_cache
def _features() -> frozenset[str]:
    # From LLVM, which numba brings: it knows what the system allows too, as with AVX-512 and AMX.
    import llvmlite.binding as llvm

    try:
        return frozenset(name for name, has in llvm.get_host_cpu_features().items() if has)
    except RuntimeError:  # of machines that LLVM cannot ask
        return frozenset()
