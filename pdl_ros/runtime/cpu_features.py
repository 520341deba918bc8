"""What instructions this processor has, as far as the engines may use them."""

from __future__ import annotations

import os

import torch

_BF16_INSTRUCTIONS = ('avx512_bf16', 'amx_tile')
_WITHOUT_BF16 = ('SSE41', 'AVX', 'AVX2', 'AVX2_VNNI', 'AVX512_CORE', 'AVX512_CORE_VNNI')


def has_bf16() -> bool:
    """Tell whether the CPU computes in bf16: AVX-512 BF16 or AMX. Others convert back and forth.

    oneDNN, on which PyTorch and OpenVINO rest, can be kept from instructions by the environment
    variable ONEDNN_MAX_CPU_ISA, as when a smaller processor is tried out; OpenVINO then gives no
    heads at all in bf16.
    """
    if os.environ.get('ONEDNN_MAX_CPU_ISA', '').upper() in _WITHOUT_BF16:
        return False
    # PyTorch tells since 2.6.
    tells = (getattr(torch.cpu, f'_is_{name}_supported', None) for name in _BF16_INSTRUCTIONS)
    return any(tell is not None and tell() for tell in tells)
