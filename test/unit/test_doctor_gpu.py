"""The proof on a GPU, as far as a CPU can try it, and what happens to a check that fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pdl_ros.bench.streets import street_heads
from pdl_ros.cli import main
from pdl_ros.doctor.child import ProbeError
from pdl_ros.doctor.gpu import checks, engine_checks, fusion_check, run, tensorrt_check
from pdl_ros.doctor.gpu.outcome import FAILED, NOT_HERE, PASSED, Outcome, trial_on
from pdl_ros.engines.tensorrt_plans import load_or_build
from pdl_ros.engines.torch_engine import TorchEngine
from pdl_ros.fusion import FusionSettings, fuse
from pdl_ros.labels import LabelSet

CPU = replace(trial_on(torch.device('cpu')), frames=1)
ON_A_CPU = {
    'engines': PASSED,
    'graphs': NOT_HERE,
    'overlap': PASSED,
    'tensorrt': NOT_HERE,
    'second_gpu': NOT_HERE,
    'memory_shortage': NOT_HERE,
    'release': NOT_HERE,
    'time_fusion': PASSED,
    'time_cityscapes_mobilenet_v3': PASSED,
}


@pytest.mark.parametrize('name', ON_A_CPU)
def test_each_check_runs_on_a_cpu_and_claims_nothing_about_a_gpu(name):
    outcome = checks.CHECKS[name](CPU)
    assert outcome.state == ON_A_CPU[name], outcome
    assert 'wrong' not in outcome.says


def test_on_a_cpu_the_kernels_run_in_triton_s_interpreter(monkeypatch):
    """What they then find is in test_fusion_triton.py."""
    asked = []
    monkeypatch.setattr(run, 'ask', lambda *_, **options: asked.append(options['environment']))
    for check in run.CHECKS[:2]:
        run._run(check, 'cpu')
    run._run(run.CHECKS[0], 'cuda:0')
    assert asked == [{'TRITON_INTERPRET': '1'}, {}, {}]


def test_every_check_has_a_title_and_a_limit():
    assert {check.name for check in run.CHECKS} == checks.CHECKS.keys()


def test_one_wrong_pixel_or_score_is_found_and_said_where():
    cityscapes = LabelSet.load('cityscapes')
    heads = street_heads((32, 64), 3, cityscapes)
    right = fuse(heads, cityscapes, FusionSettings(), (32, 64))
    assert fusion_check.difference(right, right) == ''
    panoptic = right.panoptic.clone()
    panoptic[3, 4] += 1
    said = fusion_check.difference(right._replace(panoptic=panoptic), right)
    assert said == 'the panoptic map in 1 pixels, such as [[3, 4]]'
    table = right.segments._replace(score=right.segments.score + 1e-3)
    assert 'the column score' in fusion_check.difference(right._replace(segments=table), right)
    for off, says in ((1e-7, ''), (1e-3, 'the column objectness')):  # the first is rounding
        table = right.segments._replace(objectness=right.segments.objectness + off)
        said = fusion_check.difference(right._replace(segments=table), right)
        assert bool(says) == bool(said) and says in said
    table = right.segments._replace(area=right.segments.area[:-1])
    assert 'the column area' in fusion_check.difference(right._replace(segments=table), right)


def test_an_engine_that_says_something_else_fails(monkeypatch):
    monkeypatch.setattr(engine_checks, 'equal_share', lambda *_: 0.9)
    outcome = engine_checks.check_engines(CPU)
    assert outcome.state == FAILED
    assert 'torch bf16 90.00 %' in outcome.says


@pytest.mark.parametrize('keeps', [True, False])
def test_a_tensorrt_engine_that_is_built_again_for_the_node_fails(keeps, monkeypatch):
    """With PyTorch in TensorRT's place: the check itself, which no machine here can run."""
    count = iter(range(9))

    def opened(network, variant, device, precision='auto', shapes=None, *_, instead=(), **__):
        number = 0 if keeps else next(count)
        facts = [{'what': f'{s}.engine', 'n': str(number)} for s in (*instead, shapes)]
        return load_or_build(facts, lambda _: TorchEngine(network, device), lambda: b'plan')

    monkeypatch.setattr(tensorrt_check, 'open_tensorrt', opened)
    monkeypatch.setattr('pdl_ros.engines.factory.open_tensorrt', opened)
    outcome = tensorrt_check.check_tensorrt(CPU)
    assert outcome.state == (PASSED if keeps else FAILED), outcome
    assert outcome.numbers['equal'] == 1
    assert outcome.numbers['from_cache'] == keeps


def answers(monkeypatch, torch_says, says):
    def ask(question, *arguments, **options):
        said = torch_says if question == 'torch' else says(arguments[0])
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(run, 'ask', ask)


def test_a_check_that_dies_does_not_keep_the_others_from_their_turn(monkeypatch, capsys):
    fine = Outcome(PASSED, 'good', {}).as_dict()
    dead = ProbeError('its process was ended by SIGSEGV')
    gpu = {'gpus': [{'name': 'NVIDIA H200'}]}
    answers(monkeypatch, gpu, lambda name: dead if name == 'graphs' else fine)
    proof = run.prove('auto')
    assert [c['state'] for c in proof['checks']].count(PASSED) == len(run.CHECKS) - 1
    assert proof['name'] == 'NVIDIA H200'
    assert not run.all_passed(proof)
    said = capsys.readouterr().out
    assert 'ended by SIGSEGV' in said
    assert f'{len(run.CHECKS) - 1} passed, 1 failed, 0 not here' in said


@pytest.mark.parametrize(
    ('device', 'torch_says', 'words'),
    [
        ('auto', {'gpus': []}, 'There is no GPU that PyTorch can use here'),
        ('cuda:1', {'gpus': [{'name': 'NVIDIA H200'}]}, "No GPU 'cuda:1'"),
        ('auto', ProbeError('OSError: libtorch.so'), 'needs PyTorch'),
    ],
)
def test_without_such_a_gpu_there_is_one_sentence_and_status_2(
    device, torch_says, words, monkeypatch, capsys
):
    answers(monkeypatch, torch_says, lambda name: pytest.fail('ran'))
    monkeypatch.setattr('sys.argv', ['pdl_ros', 'doctor', '--gpu', '--device', device])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.splitlines()) == 1


def test_hard_frames_are_those_of_their_seed():
    for a, b in zip(fusion_check._hard(3)[0][:3], fusion_check._hard(3)[0][:3], strict=True):
        np.testing.assert_array_equal(a, b)
