"""The executable `doctor`; `pdl_ros doctor` calls the same."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pdl_ros.doctor.report import as_json, can_run, examine
from pdl_ros.doctor.show import show_section, show_verdict
from pdl_ros.errors import PdlError
from pdl_ros.runtime.files import require_writable_file, write_json
from pdl_ros.runtime.terminal import print_on_any_terminal


def main() -> int:
    """Run the doctor with nothing but the standard library; return its exit status."""
    print_on_any_terminal()
    parser = argparse.ArgumentParser('doctor', description='What this machine has and lacks.')
    parser.add_argument('--json', type=Path, metavar='FILE', help='Also write everything here.')
    parser.add_argument('--gpu', action='store_true', help='Prove that all runs on the GPU.')
    parser.add_argument('--device', default='auto', help='With --gpu: cuda:N, or cpu to try it.')
    given, _ = parser.parse_known_args(_own(sys.argv[1:]))
    try:
        return run_doctor(given.json, given.gpu, given.device)
    except PdlError as error:
        print(f'doctor: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run_doctor(json_file: Path | None = None, gpu: bool = False, device: str = 'auto') -> int:
    """Examine this machine, print what was found, and write it to a file.

    gpu: prove that all runs on the GPU `device` (auto, cuda:N; or cpu, as far as that goes)
    instead of printing the rest. Returns the exit status: 0, the node can run here, or all that
    could be proved was; 1: it cannot, or something failed. Raises PdlError where there is no GPU,
    and where the file cannot be written.
    """
    if json_file is not None:
        require_writable_file(json_file)
    if gpu:
        from pdl_ros.doctor.gpu.run import all_passed, prove

        proof = prove(device, _announce)
        if json_file is not None:
            _announce('looking at all the rest, for the file')
            write_json(json_file, as_json(list(examine()), proof))
        return 0 if all_passed(proof) else 1
    sections = []
    for section in examine(_announce):
        show_section(section)
        sections.append(section)
    show_verdict(sections)
    if json_file is not None:
        write_json(json_file, as_json(sections))
        print(f'Everything is in {json_file}, to be attached to a bug report.')
    return 0 if can_run(sections) else 1


def _announce(text: str) -> None:
    if sys.stderr.isatty():
        print(f'... {text}', file=sys.stderr)


def _own(arguments: list[str]) -> list[str]:
    """Leave out what launch files add for nodes."""
    return arguments[: arguments.index('--ros-args')] if '--ros-args' in arguments else arguments


if __name__ == '__main__':
    sys.exit(main())
