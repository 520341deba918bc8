"""What a machine is called, and what it is believed to compute with."""

from __future__ import annotations

import pytest

from pdl_ros.runtime import cpu_features

X86 = set(cpu_features.X86)


@pytest.mark.parametrize('machine', ['aarch64', 'arm64', 'armv7l', 'riscv64', ''])
def test_no_other_processor_is_taken_for_an_x86(monkeypatch, machine):
    monkeypatch.setattr('platform.machine', lambda: machine)
    features = frozenset({'neon', 'fp-armv8', 'bf16', 'i8mm'})
    monkeypatch.setattr(cpu_features, '_features', lambda: features)
    for limit in ('', 'AVX2', 'AVX512_CORE_BF16'):
        monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', limit)
        names = {
            cpu_features.instruction_set(name) for name in ('torch', 'openvino', 'onnxruntime')
        }
        assert len(names) == 1 and not names & X86
        assert not cpu_features.has_bf16()


def test_a_robot_without_a_processors_name_is_called_by_its_board(monkeypatch, tmp_path):
    cpuinfo, board = tmp_path / 'cpuinfo', tmp_path / 'model'
    monkeypatch.setattr(cpu_features, '_CPUINFO', cpuinfo)
    monkeypatch.setattr(cpu_features, '_BOARD', board)
    monkeypatch.setattr('platform.processor', lambda: '')
    monkeypatch.setattr('platform.machine', lambda: 'aarch64')
    assert cpu_features.processor() == 'aarch64'
    cpuinfo.write_text('processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n')
    assert cpu_features.processor() == 'aarch64'
    board.write_bytes(b'Raspberry Pi 5 Model B Rev 1.0\0')
    assert cpu_features.processor() == 'Raspberry Pi 5 Model B Rev 1.0'
    cpuinfo.write_text('processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t: sse\n')
    assert cpu_features.processor() == 'Some CPU @ 2.00GHz'
